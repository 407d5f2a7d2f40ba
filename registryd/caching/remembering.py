"""What upstreams said is public, kept over restarts: an outage may begin before a cache has asked again."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.json_text import parse_json
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.caching.registries import Registries
    from registryd.upstream.public import PublicRepositories

_log = logging.getLogger(__name__)

# Twice what as many repositories take as are remembered, all with the longest name.
NOTE_BYTES: Final = 2 * 1024 * 1024
# What was written is from the future when the clock was put back; more than this is not believed.
_CLOCK_SECONDS: Final = 60.0


class Note(Protocol):
    """A small file."""

    async def read(self) -> bytes:
        """What was written last. Raises ContentNotFound or StoreUnavailable."""

    async def write(self, data: bytes) -> None:
        """Replace it. Raises StoreUnavailable."""


class PublicMemory:
    """The repositories that anyone may pull, with the times of their upstreams' words.

    A registry's words hold for the places where it was asked: with other settings they are another registry's.
    """

    def __init__(
        self, note: Note, public: PublicRepositories, registries: Registries, *, now: Callable[[], float] = time.time
    ) -> None:
        self._note = note
        self._public = public
        self._registries = registries
        self._now = now

    async def recall(self) -> None:
        """Know again what was known. A file that makes no sense is one line in the log, and nothing is known."""
        try:
            known = list(self._parse(await self._note.read()))
        except ContentNotFound:
            return
        except (ContentUnavailable, NameInvalid, ValueError, RecursionError) as error:
            _log.warning("%s is ignored, upstreams are asked again what is public: %s", self._note, error)
            return
        for repository, age in known:
            self._public.recall(repository, age=age)

    async def keep(self) -> None:
        """Write it down whenever it changes, for ever."""
        while True:
            await self._public.changed.wait()
            self._public.changed.clear()
            try:
                await self._note.write(self._render())
            except StoreUnavailable as error:
                _log.warning("what is public is not kept for the next start: %s", error)

    def _render(self) -> bytes:
        now, registries = self._now(), dict[str, dict[str, Any]]()
        for repository, age in self._public.ages():
            registry = repository.registry
            table = registries.setdefault(registry.host, {"asked": self._places(registry), "public": {}})
            table["public"][repository.path] = round(now - age, 3)
        return json.dumps({"registries": registries}, indent=1).encode()

    def _parse(self, data: bytes) -> Iterator[tuple[Repository, float]]:
        """Repositories, and how many seconds ago they were public. Raises ValueError or NameInvalid."""
        document = parse_json(data)
        for host, table in _table(_table(document).get("registries")).items():
            registry, public = Registry(host), _table(_table(table).get("public"))
            if table.get("asked") == self._places(registry):
                for path, said_at in public.items():
                    yield Repository(registry, path), self._age(said_at)

    def _age(self, said_at: object) -> float:
        if isinstance(said_at, bool) or not isinstance(said_at, int | float) or not math.isfinite(said_at):
            raise ValueError("a time is not a number")
        age = self._now() - said_at
        if age < -_CLOCK_SECONDS:
            raise ValueError("it is from the future")
        return max(0.0, age)

    def _places(self, registry: Registry) -> list[str]:
        return [str(place.root) for place in self._registries.places(registry)]


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it is not what a cache writes")  # noqa: TRY004 - of what was read, not of a call
    return value
