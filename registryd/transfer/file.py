"""Bytes of a file: by sendfile into a plain connection, copied where bytes must pass through our hands."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.oci.ranges import Span
    from registryd.transfer.sink import Sink

# The bytes that one call may move, and so how long the call can sleep on a disk: 8 ms at 500 MB/s.
_CALL_BYTES: Final = 4 * 1024 * 1024
# The same in the event loop, when no disk is involved: 0.2 to 0.4 ms of copying.
_CACHED_CALL_BYTES: Final = 1024 * 1024
# How long a thread goes on while the receiver keeps up. Throughput next to nginx was 0.68 with one call a turn, 0.84
# with 5 ms, 0.94 to 1.06 with 10 ms (benchmarks.transfer); longer turns gain nothing and keep others waiting.
_TURN_SECONDS: Final = 0.010
# How long a thread waits for a receiver that has enough for now. A quick one has room again within a tenth of it, and
# changing threads for that costs more than sending: without this wait 1.7 to 2.1 of nginx's processor time, with it
# 1.2. A slow one is waited for in the loop; it asks for a thread again only when a third of its buffer is free, so
# that a thousand of them do not keep the pool from working.
_LINGER_MILLISECONDS: Final = 1
# A slice for TLS: 64 to 256 KiB are equally fast, and larger ones keep the loop from other work for longer.
_COPY_BYTES: Final = 256 * 1024
# Errors of sendfile that are the receiver's, besides ConnectionError and TimeoutError. Every other error counts as the
# file's: going on with another source is harmless when the receiver turns out to be gone.
_RECEIVER_GONE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})


class FileBody:
    """A span of an open file. Owns the descriptor: `aclose` closes it.

    The file is never mapped into memory: a mapped file that is cut short, or lies on a failing disk, would end the
    process with SIGBUS, while reading such a file only raises an error. For files that still grow see
    `registryd.transfer.growing`.
    """

    def __init__(self, fd: int, span: Span) -> None:
        self._fd: int | None = fd
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    @property
    def fd(self) -> int:
        """The open file, while the body is open."""
        if self._fd is None:
            raise ValueError("the body is closed")
        return self._fd

    async def send_to(self, sink: Sink) -> None:
        if sink.fd is None or self.length <= _COPY_BYTES:
            await self._copy(self.fd, sink)
        else:
            await self._sendfile(self.fd, sink, sink.fd)

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def _sendfile(self, fd: int, sink: Sink, out: int) -> None:
        begun_at = sink.sent
        with _corked(out):
            while (rest := self._span.after(sink.sent - begun_at)).length:
                try:
                    await run_in_pool(partial(_take_turn, sink, out, fd, rest))
                except BlockingIOError:
                    await sink.wait_writable()
                except OSError as error:
                    raise _blame(error) from error

    async def _copy(self, fd: int, sink: Sink) -> None:
        buffer = memoryview(bytearray(min(_COPY_BYTES, self.length)))
        rest = self._span
        while rest.length:
            count = await _read(fd, buffer[: rest.length], rest.start)
            if not count:
                raise _ended(rest)
            await sink.write(buffer[:count])
            rest = rest.after(count)


async def send_from_cache(fd: int, span: Span, sink: Sink, out: int) -> None:
    """Send bytes that were written a moment ago: the page cache has them, so no call sleeps and no thread is needed.

    Next to a FileBody half the processor time for 1 MiB, and 0.4 ms sooner (benchmarks.growing).
    """
    while span.length:
        try:
            count = os.sendfile(out, fd, span.start, min(_CACHED_CALL_BYTES, span.length))
        except BlockingIOError:
            await sink.wait_writable()
            continue
        except OSError as error:
            raise _blame(error) from error
        if not count:
            raise _ended(span)
        sink.sent += count
        span = span.after(count)


def _take_turn(sink: Sink, out: int, fd: int, rest: Span) -> None:
    """Send and count, in a thread, until the turn is over or the receiver has enough (BlockingIOError)."""
    turn_ends = time.monotonic() + _TURN_SECONDS
    room = select.poll()
    room.register(out, select.POLLOUT)
    while rest.length and time.monotonic() < turn_ends:
        try:
            count = os.sendfile(out, fd, rest.start, min(_CALL_BYTES, rest.length))
        except BlockingIOError:
            if not room.poll(_LINGER_MILLISECONDS):
                raise
            continue
        if not count:
            raise _ended(rest)
        sink.sent += count  # here, so that it counts when the transfer was cancelled meanwhile
        rest = rest.after(count)


@contextmanager
def _corked(out: int) -> Iterator[None]:
    """Full segments only, until the end: sendfile pushes after every 64 KiB otherwise, at 0.6 of the throughput."""
    with socket.socket(fileno=os.dup(out)) as sock:
        _set_cork(sock, on=True)
        try:
            yield
        finally:
            _set_cork(sock, on=False)


def _set_cork(sock: socket.socket, *, on: bool) -> None:
    with suppress(OSError):  # not TCP, or gone
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


def _ended(rest: Span) -> SourceBroken:
    return SourceBroken(f"the file ends at byte {rest.start}, {rest.length} bytes early")


async def _read(fd: int, buffer: memoryview, offset: int) -> int:
    """Read into the buffer: what the page cache has at once, what the disk has to give in a thread."""
    with suppress(OSError):  # not cached, or a file system that cannot tell; a real error comes again below
        if count := os.preadv(fd, [buffer], offset, os.RWF_NOWAIT):
            return count
    try:
        return await run_in_pool(partial(os.preadv, fd, [buffer], offset))
    except OSError as error:
        raise SourceBroken(f"the file cannot be read: {error.strerror}") from error


def _blame(error: OSError) -> SinkClosed | SourceBroken:
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in _RECEIVER_GONE:
        return SinkClosed(f"the receiver closed the connection: {error.strerror}")
    return SourceBroken(f"the file cannot be read: {error.strerror}")
