"""How quickly a source gives, not counting the time in which the receiver took nothing."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Reading:
    """A moment of a transfer: when, bytes sent by then, seconds by then in which the receiver took nothing.

    `left`: bytes of the body that are still to be sent, if its length is known.
    """

    at: float
    sent: int
    busy: float
    left: int = 0

    def starved_since(self, before: Reading) -> float:
        """Seconds in which the receiver waited for the source."""
        return (self.at - before.at) - (self.busy - before.busy)

    def is_starved(self, before: Reading) -> bool:
        """Whether the source took most of the time, so that it can be judged."""
        return self.starved_since(before) >= (self.at - before.at) / 2

    def rate_since(self, before: Reading) -> float:
        """Bytes per second of the time in which the receiver waited; infinite when it never did."""
        starved = self.starved_since(before)
        return (self.sent - before.sent) / starved if starved > 0 else float("inf")


class MeteredSink(Sink):
    """Another sink, and the seconds during which it made its source wait. It may know the `length` of its body."""

    def __init__(self, sink: Sink, length: int = 0) -> None:
        self._sink = sink
        self._stop = sink.sent + length
        self._time = asyncio.get_running_loop().time
        self._busy = 0.0
        self._busy_since: float | None = None

    def read_meter(self) -> Reading:
        """How things are now."""
        now, sent = self._time(), self._sink.sent
        busy = self._busy + (0 if self._busy_since is None else now - self._busy_since)
        return Reading(now, sent, busy, max(0, self._stop - sent))

    @property
    def fd(self) -> int | None:
        return self._sink.fd

    @property
    def sent(self) -> int:
        return self._sink.sent

    @sent.setter
    def sent(self, count: int) -> None:
        self._sink.sent = count

    @property
    def room(self) -> memoryview | None:
        return self._sink.room

    def filled(self, count: int) -> None:
        self._sink.filled(count)

    async def write(self, data: bytes | memoryview) -> None:
        with self._making_wait():
            await self._sink.write(data)

    async def wait_writable(self) -> None:
        with self._making_wait():
            await self._sink.wait_writable()

    async def wait_allowed(self) -> None:
        with self._making_wait():
            await self._sink.wait_allowed()

    @contextmanager
    def _making_wait(self) -> Iterator[None]:
        self._busy_since = begun = self._time()
        try:
            yield
        finally:
            self._busy += self._time() - begun
            self._busy_since = None
