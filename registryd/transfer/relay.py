"""From a source's connection to a receiver's: by splice when both are plain, by copying when one is encrypted."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.pipe import open_pipe
from registryd.transfer.wire import source_errors

if TYPE_CHECKING:
    from registryd.transfer.pipe import Pipe
    from registryd.transfer.sink import Sink
    from registryd.transfer.wire import Wire

# One turn of a relay that has to copy. Next to nginx 256 KiB gave 0.87 of the throughput, 1 MiB 0.97; but with eight
# relays at work another request waited 7 and 22 ms, as it has to let each of them take its turn (benchmarks.transfer).
# Receiving in threads of the pool instead gave 0.76: the relay is quicker than its source and keeps changing threads.
_COPY_BYTES: Final = 512 * 1024
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class RelayBody:
    """The body of a response whose head has been read. Owns the connection; what comes after `length` is ignored.

    A source that gives no byte for `stall_timeout` seconds, while the receiver wants some, is broken.
    """

    def __init__(self, wire: Wire, early: bytes, *, length: int, stall_timeout: float) -> None:
        self._wire = wire
        self._stall_timeout = stall_timeout
        self._early = early[:length]
        self._length = length

    @property
    def length(self) -> int:
        return self._length

    async def send_to(self, sink: Sink) -> None:
        if self._early:
            await sink.write(self._early)
        left = self._length - len(self._early)
        if left == 0:
            return
        if (source := self._wire.splice_fd) is None or sink.fd is None:
            await self._copy(sink, left)
        else:
            await self._splice(source, sink, sink.fd, left)

    async def aclose(self) -> None:
        self._wire.close()

    async def _splice(self, source: int, sink: Sink, out: int, left: int) -> None:
        """Fill the pipe, empty it, fill it again: when the source fails, nothing received is left unsent in it."""
        with open_pipe() as pipe:
            while left:
                filled = await self._fill(source, pipe, left)
                await _empty(pipe, sink, out, filled)
                left -= filled
                await asyncio.sleep(0)  # both sides may be quick enough never to make us wait

    async def _fill(self, source: int, pipe: Pipe, left: int) -> int:
        while True:
            try:
                with source_errors():
                    filled = os.splice(source, pipe.write_end, min(left, pipe.capacity), flags=_FLAGS)
            except BlockingIOError:
                await self._wire.wait_readable(stall_timeout=self._stall_timeout)
            else:
                return _count_or_broken(filled, left)

    async def _copy(self, sink: Sink, left: int) -> None:
        buffer = memoryview(bytearray(min(_COPY_BYTES, left)))
        while left:
            filled = await self._receive(buffer[:left])
            await sink.write(buffer[: _count_or_broken(filled, left)])
            left -= filled
            await asyncio.sleep(0)

    async def _receive(self, buffer: memoryview) -> int:
        """Wait for bytes, then take what is there: TLS gives 16 KiB at a time, too little to be sent on singly."""
        filled = await self._wire.receive(buffer, stall_timeout=self._stall_timeout)
        with suppress(BlockingIOError, SourceBroken):  # comes again when the bytes before it have been sent
            while 0 < filled < len(buffer) and (count := self._wire.receive_now(buffer[filled:])):
                filled += count
        return filled


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
