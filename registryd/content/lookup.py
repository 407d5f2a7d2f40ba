"""The order in which the agent asks sources: this node, then the cluster, then any further source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from registryd.aio.unexpected import note_unexpected
from registryd.content.asker import AskAgain
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.errors import OciError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from registryd.content.sought import Sought
    from registryd.content.source import Content, ContentSource, EntitledSource, OpenContent, RangeOf
    from registryd.oci.digest import Digest

T = TypeVar("T")


class Origin(StrEnum):
    """Which kind of source answered."""

    LOCAL = "local"
    PEER = "peer"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """The content found, and its source. `stale` says why it may be out of date: its owner could not be asked.

    `is_stored`: the content came from elsewhere, and this node has it now.
    """

    origin: Origin
    value: T
    stale: str | None = None
    is_stored: bool = False


class NoSource(ContentUnavailable):
    """No source gave the content ; the reason of each is kept, in the order they were asked.

    `is_miss` is true when all of them answered properly that they do not have it.
    """

    def __init__(self, reasons: Mapping[Origin, ContentUnavailable]) -> None:
        super().__init__("; ".join(f"{origin}: {reason}" for origin, reason in reasons.items()) or "no source")
        self.reasons = dict(reasons)

    @property
    def is_miss(self) -> bool:
        return all(isinstance(reason, ContentNotFound) for reason in self.reasons.values())


class Lookup:
    """Asks its sources one after the other; the bound on the whole search is the caller's."""

    def __init__(self, sources: Mapping[Origin, EntitledSource]) -> None:
        self._sources = dict(sources)

    async def find(self, sought: Sought) -> Hit[Content]:
        """Find a source of the content for that name, and the content's size and type. Raises NoSource."""
        return await self._first(lambda source: source.find(sought))

    async def open(self, sought: Sought, wanted: RangeOf) -> Hit[OpenContent]:
        """The content's bytes, from the first source that gives them. Raises NoSource, or RangeInvalid."""
        return await self._first(lambda source: source.open(sought, wanted))

    def as_source(self, sought: Sought) -> ContentSource:
        """All sources as one source, for content that is wanted for the same name."""
        return _ForName(self, sought)

    async def _first(self, ask: Callable[[EntitledSource], Awaitable[T]]) -> Hit[T]:
        reasons: dict[Origin, ContentUnavailable] = {}
        for origin, source in self._sources.items():
            try:
                return Hit(origin, await ask(source))
            except ContentUnavailable as reason:
                reasons[origin] = reason
            except (OciError, AskAgain):
                raise  # meant for the client, whoever else could be asked
            except Exception as error:  # noqa: BLE001 - a mistake in one source does not keep the next from being asked
                note_unexpected(f"asking {origin} for content", error)
                reasons[origin] = ContentUnavailable("it could not be asked")
        raise NoSource(reasons)


class _ForName:
    def __init__(self, lookup: Lookup, sought: Sought) -> None:
        self._lookup = lookup
        self._sought = sought

    async def find(self, digest: Digest) -> Content:
        return (await self._lookup.find(replace(self._sought, digest=digest))).value

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return (await self._lookup.open(replace(self._sought, digest=digest), wanted)).value
