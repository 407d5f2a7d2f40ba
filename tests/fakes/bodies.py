"""Bodies with a character: broken half-way, waiting for a signal, and one that tells whether it was closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink


class BrokenBody:
    """Gives the first `breaks_after` bytes and breaks, as a peer that dies does."""

    def __init__(self, data: bytes, *, breaks_after: int) -> None:
        self._data = data
        self._breaks_after = breaks_after

    @property
    def length(self) -> int:
        return len(self._data)

    async def send_to(self, sink: Sink) -> None:
        await sink.write(self._data[: self._breaks_after])
        raise SourceBroken(f"the fake source broke after {self._breaks_after} bytes")

    async def aclose(self) -> None:
        """Nothing is held."""


class StalledBody:
    """Gives the first `stalls_after` bytes, then nothing until `resume` is set. `stalled` is set when it gets there."""

    def __init__(self, data: bytes, *, stalls_after: int = 0) -> None:
        self._data = data
        self._stalls_after = stalls_after
        self.stalled = asyncio.Event()
        self.resume = asyncio.Event()

    @property
    def length(self) -> int:
        return len(self._data)

    async def send_to(self, sink: Sink) -> None:
        await sink.write(self._data[: self._stalls_after])
        self.stalled.set()
        await self.resume.wait()
        await sink.write(self._data[self._stalls_after :])

    async def aclose(self) -> None:
        """Nothing is held."""


class WitnessedBody:
    """Another body, and whether it was closed; `closed` is set when it is."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self.closed.is_set()

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        await self._body.send_to(sink)

    async def aclose(self) -> None:
        self.closed.set()
        await self._body.aclose()
