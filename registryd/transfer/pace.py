"""Whether a source is too slow, judged only by the time in which the receiver was waiting for it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SourceBroken
from registryd.transfer.meter import MeteredSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.transfer.body import Body
    from registryd.transfer.meter import Reading
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
    be quicker than its own source, and is judged by others (`registryd.transfer.doubting`).
    """

    def __init__(self, body: Body, floor: FloorRate = DEFAULT_FLOOR) -> None:
        self._body = body
        self._floor = floor

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        metered = MeteredSink(sink)
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
def _watching(sink: MeteredSink, floor: FloorRate, limit: asyncio.Timeout) -> Iterator[None]:
    """Let the limit expire at the end of the first window in which the source was too slow."""
    loop = asyncio.get_running_loop()

    next_look: asyncio.TimerHandle

    def look(before: Reading) -> None:
        nonlocal next_look
        now = sink.read_meter()
        if now.is_starved(before) and now.rate_since(before) < floor.bytes_per_second:
            limit.reschedule(loop.time())
        else:
            next_look = loop.call_later(floor.window_seconds, look, now)

    next_look = loop.call_later(floor.window_seconds, look, sink.read_meter())
    try:
        yield
    finally:
        next_look.cancel()
