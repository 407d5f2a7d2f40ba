"""From a source's connection to a receiver's: by splice when both are plain, by copying when one is encrypted."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.http.connection import LOT_SECONDS, source_errors
from registryd.transfer.pipe import open_pipe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from registryd.transfer.http.connection import SourceConnection
    from registryd.transfer.pipe import Pipe
    from registryd.transfer.sink import Sink

    Turn = Callable[[], Awaitable[None]]

# Decrypted bytes should still be in the processor's cache when they are sent.
_COPY_BYTES: Final = 256 * 1024
# One turn of a relay that has to copy: twice the turn is twice the wait of other requests. Receiving in threads of the
# pool instead gave 0.76 of nginx's throughput: the relay is quicker than its source, and keeps changing threads.
_TURN_BYTES: Final = 512 * 1024
# That much comes in two pieces. Some more pieces that are small make a turn, too: a record can have one byte, and a
# thousand of them cost as much as half a MiB does otherwise.
_TURN_PIECES: Final = 4
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class RelayBody:
    """The body of a response whose head has been read. Owns the connection; what comes after `length` is ignored.

    A source that gives no byte for `stall_timeout` seconds, while the receiver wants some, is broken. What comes slowly
    is passed on after `lot_seconds`. `keep` is given the connection when the last byte has been taken from it and it
    has no further one; otherwise it is closed. `on_sent` is told the bytes when the body has been sent, or has broken
    off.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, and who is told, all named
        self,
        wire: SourceConnection,
        early: bytes,
        *,
        length: int,
        stall_timeout: float,
        lot_seconds: float = LOT_SECONDS,
        keep: Callable[[SourceConnection], None] | None = None,
        on_sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._wire: SourceConnection | None = wire
        self._stall_timeout = stall_timeout
        self._lot_seconds = lot_seconds
        self._keep = keep if len(early) <= length else None
        self._on_sent = on_sent
        self._early = early[:length]
        self._length = length
        self._left = length - len(self._early)

    @property
    def length(self) -> int:
        return self._length

    async def send_to(self, sink: Sink) -> None:
        if self._wire is None:
            raise ValueError("the body is closed")
        before = sink.sent
        try:
            await self._move(self._wire, sink)
        finally:
            self._on_sent(sink.sent - before)

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if self._left or self._keep is None:
            wire.close()
        else:
            self._keep(wire)

    async def _move(self, wire: SourceConnection, sink: Sink) -> None:
        """Take the quickest way that the source and the receiver allow."""
        if self._early:
            await sink.write(self._early)
        if self._left == 0:
            return
        if sink.room is not None:
            await self._receive_into(wire, sink)
        elif (source := wire.splice_fd) is None or sink.fd is None:
            await self._copy(wire, sink)
        else:
            await self._splice(wire, source, sink, sink.fd)

    async def _splice(self, wire: SourceConnection, source: int, sink: Sink, out: int) -> None:
        """Fill the pipe, empty it, fill it again: when the source fails, nothing received is left unsent in it."""
        with open_pipe() as pipe, taking_turns() as turn:
            while self._left:
                await turn()
                await sink.wait_allowed()
                try:
                    filled = _count_or_broken(_fill(source, pipe, self._left), self._left)
                except BlockingIOError:
                    await self._wait_lot(wire)
                    continue
                await _empty(pipe, sink, out, filled)
                self._left -= filled

    async def _receive_into(self, wire: SourceConnection, sink: Sink) -> None:
        with taking_turns() as turn:
            while self._left:
                await turn()
                if (room := sink.room) is None:
                    raise ValueError("the receiver's room is less than the body")
                try:
                    count = _count_or_broken(wire.receive_now(room[: min(self._left, _TURN_BYTES)]), self._left)
                except BlockingIOError:
                    await self._wait_lot(wire)
                else:
                    sink.filled(count)
                    self._left -= count

    async def _copy(self, wire: SourceConnection, sink: Sink) -> None:
        buffer = memoryview(bytearray(min(_COPY_BYTES, self._left)))
        with taking_turns() as turn:
            while self._left:
                await turn()
                try:
                    await self._copy_turn(wire, sink, buffer)
                except BlockingIOError:
                    await self._wait_lot(wire)

    async def _copy_turn(self, wire: SourceConnection, sink: Sink, buffer: memoryview) -> None:
        turn_ends = max(0, self._left - _TURN_BYTES)
        pieces = 0
        while self._left > turn_ends and pieces < _TURN_PIECES:
            pieces += 1
            filled = _count_or_broken(wire.receive_now(buffer[: self._left]), self._left)
            await sink.write(buffer[:filled])
            self._left -= filled

    async def _wait_lot(self, wire: SourceConnection) -> None:
        await wire.wait_lot(self._left, stall_timeout=self._stall_timeout, lot_seconds=self._lot_seconds)


def _fill(source: int, pipe: Pipe, left: int) -> int:
    with source_errors():
        return os.splice(source, pipe.write_end, min(left, pipe.capacity), flags=_FLAGS)


async def _empty(pipe: Pipe, sink: Sink, out: int, filled: int) -> None:
    while filled:
        try:
            taken = os.splice(pipe.read_end, out, filled, flags=_FLAGS)
        except BlockingIOError:
            await sink.wait_writable()
        except OSError as error:
            raise SinkClosed(f"the receiver closed the connection: {error.strerror}") from error
        else:
            sink.sent += taken
            filled -= taken


def _count_or_broken(count: int, left: int) -> int:
    if count == 0:
        raise SourceBroken(f"the source ended {left} bytes early")
    return count


# ---------------------------------------------------------------- one transfer in each round of the loop


@contextmanager
def taking_turns() -> Iterator[Turn]:
    """Take part; the transfer awaits the given callable before each turn of at most some hundred microseconds.

    A request that is answered meanwhile needs a dozen rounds of the loop. If each relay had a turn in every round,
    eight relays would make the request wait a dozen times eight turns. This way it waits a dozen turns. No relay is
    starved, because the line is first come, first served. A relay that is alone pays nothing.
    """
    line = _LINES.setdefault(asyncio.get_running_loop(), _Line())
    line.members += 1
    try:
        yield line.wait_turn
    finally:
        line.members -= 1


class _Line:
    """The transfers of one event loop that take turns, and those that wait for their turn."""

    def __init__(self) -> None:
        self.members = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait_turn(self) -> None:
        if self.members == 1:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._admit_next, loop)
        await turn

    def _admit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._waiting.popleft()
        if not turn.done():
            turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._admit_next, loop)


# The rounds of a loop are shared by all that runs in it, so this cannot belong to any part that is built.
_LINES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Line]] = WeakKeyDictionary()
