"""Whether a source is too slow, judged only by the time in which the receiver was waiting for it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink


@dataclass(frozen=True, slots=True)
class FloorRate:
    """What a source must give: bytes a second, looked at once in each window of so many seconds."""

    bytes_per_second: float
    window_seconds: float

    def __post_init__(self) -> None:
        if self.bytes_per_second <= 0 or self.window_seconds <= 0:
            raise ValueError(f"{self} is no floor")


# 256 KiB/s is a 50 MiB layer in more than three minutes: no link between nodes is meant to be that slow. The window
# outlives a few lost segments in a row (see fetch.STALL_TIMEOUT).
DEFAULT_FLOOR: Final = FloorRate(bytes_per_second=256 * 1024, window_seconds=5.0)


class PacedBody:
    """Another body, broken when its source is slower than the floor.

    A source is judged when the receiver waited for it during at least half of a window, so that a receiver that
    stops reading is not put down to the source. For sources that have everything: one that is still receiving cannot
    be quicker than its own source, and whoever left it for that would only ask the origin twice.
    """

    def __init__(self, body: Body, floor: FloorRate = DEFAULT_FLOOR) -> None:
        self._body = body
        self._floor = floor

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        metered = _MeteredSink(sink)
        floor = self._floor
        limit = asyncio.timeout(None)
        try:
            async with limit:
                with _watching(metered, floor, limit):
                    await self._body.send_to(metered)
        except TimeoutError as error:
            if not limit.expired():
                raise
            slower = f"slower than {floor.bytes_per_second:g} bytes/s for {floor.window_seconds:g} s"
            raise SourceBroken(slower) from error

    async def aclose(self) -> None:
        await self._body.aclose()


@contextmanager
def _watching(sink: _MeteredSink, floor: FloorRate, limit: asyncio.Timeout) -> Iterator[None]:
    """Let the limit expire at the end of the first window in which the source was too slow."""
    loop = asyncio.get_running_loop()

    next_look: asyncio.TimerHandle

    def look(before: _Reading) -> None:
        nonlocal next_look
        now = sink.read_meter()
        if _is_slow(before, now, floor):
            limit.reschedule(loop.time())
        else:
            next_look = loop.call_later(floor.window_seconds, look, now)

    next_look = loop.call_later(floor.window_seconds, look, sink.read_meter())
    try:
        yield
    finally:
        next_look.cancel()


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    sent: int
    busy: float


def _is_slow(before: _Reading, now: _Reading, floor: FloorRate) -> bool:
    starved = (now.at - before.at) - (now.busy - before.busy)
    return starved >= floor.window_seconds / 2 and now.sent - before.sent < floor.bytes_per_second * starved


class _MeteredSink:
    """Another sink, and the seconds during which it made its source wait."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._time = asyncio.get_running_loop().time
        self._busy = 0.0
        self._busy_since: float | None = None

    def read_meter(self) -> _Reading:
        now = self._time()
        return _Reading(now, self._sink.sent, self._busy + (0 if self._busy_since is None else now - self._busy_since))

    @property
    def fd(self) -> int | None:
        return self._sink.fd

    @property
    def sent(self) -> int:
        return self._sink.sent

    @sent.setter
    def sent(self, count: int) -> None:
        self._sink.sent = count

    async def write(self, data: bytes | memoryview) -> None:
        with self._making_wait():
            await self._sink.write(data)

    async def wait_writable(self) -> None:
        with self._making_wait():
            await self._sink.wait_writable()

    @contextmanager
    def _making_wait(self) -> Iterator[None]:
        self._busy_since = begun = self._time()
        try:
            yield
        finally:
            self._busy += self._time() - begun
            self._busy_since = None
