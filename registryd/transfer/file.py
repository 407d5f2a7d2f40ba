"""Bytes of a file: by sendfile into a plain connection, copied where bytes must pass through our hands."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.pool import run_in_pool

if TYPE_CHECKING:
    from registryd.oci.ranges import Span
    from registryd.transfer.sink import Sink

# What one call may move: bounds how long a thread of the pool is away, and costs no throughput (benchmarks).
_SENDFILE_BYTES: Final = 4 * 1024 * 1024
# A slice for TLS: 64 to 256 KiB are equally fast, and larger ones keep the loop from other work for longer.
_COPY_BYTES: Final = 256 * 1024
# Errors of sendfile that are the receiver's, besides ConnectionError and TimeoutError. Whatever is not known to be
# is put down to the file: going on with another source is harmless when the receiver turns out to be gone.
_RECEIVER_GONE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN})


class FileBody:
    """A span of an open file. Owns the descriptor: `aclose` closes it.

    The file is never mapped into memory: one that is cut short, or lies on a failing disk, would end the process
    with SIGBUS where reading it is an error. A file that is still growing would be followed in `_count_or_broken`,
    the one place that learns that the file has no more bytes for now.
    """

    def __init__(self, fd: int, span: Span) -> None:
        self._fd: int | None = fd
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        if self._fd is None:
            raise ValueError("the body is closed")
        if sink.fd is None or self.length <= _COPY_BYTES:
            await self._copy(self._fd, sink)
        else:
            await self._sendfile(self._fd, sink, sink.fd)

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def _sendfile(self, fd: int, sink: Sink, out: int) -> None:
        begun_at = sink.sent
        while (rest := self._span.after(sink.sent - begun_at)).length:
            try:
                count = await run_in_pool(partial(_sendfile, sink, out, fd, rest))
            except BlockingIOError:
                await sink.wait_writable()
                continue
            except OSError as error:
                raise _blame(error) from error
            self._count_or_broken(count, rest)

    async def _copy(self, fd: int, sink: Sink) -> None:
        buffer = memoryview(bytearray(min(_COPY_BYTES, self.length)))
        rest = self._span
        while rest.length:
            count = self._count_or_broken(await _read(fd, buffer[: rest.length], rest.start), rest)
            await sink.write(buffer[:count])
            rest = rest.after(count)

    def _count_or_broken(self, count: int, rest: Span) -> int:
        if count == 0:
            raise SourceBroken(f"the file ends at byte {rest.start}, {rest.length} bytes early")
        return count


def _sendfile(sink: Sink, out: int, fd: int, rest: Span) -> int:
    """Send and count, in a thread: what a cancelled call has sent is counted all the same."""
    count = os.sendfile(out, fd, rest.start, min(_SENDFILE_BYTES, rest.length))
    sink.sent += count
    return count


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
