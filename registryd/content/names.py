"""The meaning of a tag, as far as this node and the cluster know: the newest answer wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.aio.unexpected import note_unexpected
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registryd.content.source import NamedContent, NameSource
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName


def newest_first(known: Iterable[NamedContent]) -> tuple[NamedContent, ...]:
    """Each target once, as it was last seen."""
    newest: dict[Digest, NamedContent] = {}
    for named in known:
        other = newest.setdefault(named.target.digest, named)
        if other.seen_at < named.seen_at:
            newest[named.target.digest] = named
    return tuple(sorted(newest.values(), key=lambda named: (named.seen_at, named.target.digest), reverse=True))


class NameLookup:
    """Asks every source at once: a tag moves, so the first answer is not the right one, the newest is."""

    def __init__(self, sources: Sequence[NameSource], *, timeout_seconds: float) -> None:
        self._sources = tuple(sources)
        self._timeout_seconds = timeout_seconds

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        """All known meanings of the name, newest first, each target once; empty when no node answers in time."""
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask(source, name), name="resolve name") for source in self._sources]
        return newest_first(named for task in asking for named in task.result())

    async def _ask(self, source: NameSource, name: TaggedName) -> Sequence[NamedContent]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await source.resolve(name)
        except (ContentUnavailable, TimeoutError):
            return ()
        except Exception as error:  # noqa: BLE001 - the others may know
            note_unexpected(f"asking what {name} means", error)
            return ()
