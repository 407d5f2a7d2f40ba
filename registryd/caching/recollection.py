"""Upstreams' answers, in a small file kept over restarts: an outage may begin before a cache has asked again."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Protocol

from registryd.content.source import ContentNotFound, ContentUnavailable, StoreUnavailable
from registryd.json_text import parse_json
from registryd.oci.errors import NameInvalid
from registryd.oci.reference import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from registryd.caching.registries import Registries

_log = logging.getLogger(__name__)

# A note is from the future when the clock was put back; more than this is not believed.
_CLOCK_SECONDS = 60.0


class Note(Protocol):
    """A small file."""

    async def read(self) -> bytes:
        """The last written answers. Raises ContentNotFound or StoreUnavailable."""

    async def write(self, data: bytes) -> None:
        """Replace it. Raises StoreUnavailable."""


class Recollection:
    """Names of registries' things with the times of their upstreams' words; all names of one `kind`.

    A registry's words hold for the places where it was asked: with other settings they are another registry's.
    """

    def __init__(self, note: Note, registries: Registries, *, kind: str, now: Callable[[], float] = time.time) -> None:
        self._note = note
        self._registries = registries
        self._kind = kind
        self._now = now

    async def read(self) -> list[tuple[Registry, str, float]]:
        """Names, and how many seconds ago it was said. Of a file that makes no sense: nothing, and it is logged."""
        try:
            return list(self._parse(await self._note.read()))
        except ContentNotFound:
            return []
        except (ContentUnavailable, NameInvalid, ValueError, RecursionError) as error:
            _log.warning("%s is ignored, so the upstreams are asked again: %s", self._note, error)
            return []

    async def write(self, said: Iterable[tuple[Registry, str, float]]) -> None:
        """Keep these names, each with how many seconds ago it was said; that it cannot be kept is logged."""
        try:
            await self._note.write(self._render(said))
        except StoreUnavailable as error:
            _log.warning("the upstreams' answers (%s) cannot be saved for the next start: %s", self._kind, error)

    def _render(self, said: Iterable[tuple[Registry, str, float]]) -> bytes:
        now, registries = self._now(), dict[str, dict[str, Any]]()
        for registry, name, age in said:
            table = registries.setdefault(registry.host, {"asked": self._places(registry), self._kind: {}})
            table[self._kind][name] = round(now - age, 3)
        return json.dumps({"registries": registries}, indent=1).encode()

    def _parse(self, data: bytes) -> Iterator[tuple[Registry, str, float]]:
        """Parse an entry. Raises ValueError or NameInvalid."""
        for host, table in _table(_table(parse_json(data)).get("registries")).items():
            registry, names = Registry(host), _table(_table(table).get(self._kind))
            if table.get("asked") == self._places(registry):
                for name, said_at in names.items():
                    yield registry, name, self._age(said_at)

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
