"""Bytes of a file that somebody else is still writing: what is there at once, the rest as it comes."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.file import FileBody, send_from_cache

if TYPE_CHECKING:
    from registryd.aio.file_events import Changes, FileEvents
    from registryd.transfer.sink import Sink

# How long a file may stay as it is before its writer is taken for dead. containerd writes 1 MiB at a time, so this is a
# link of 70 KB/s; and it is how long a node may be kept waiting for one that is fetching.
GROWING_STALL_TIMEOUT: Final = 15.0
# Who is this close behind the writer is sent what has just been written; more than a few of containerd's writes may
# have to come from the disk.
_FRESH_BYTES: Final = 4 * 1024 * 1024


class GrowingBody:
    """A span of an open file that is being written from its beginning to its end. Owns the descriptor.

    The writer may rename the file when it is whole, which readers do not notice, or remove it, which is how it gives
    up: then, and after `stall_timeout` seconds without a byte, there is SourceBroken after the last byte that came.
    """

    def __init__(
        self, fd: int, span: Span, events: FileEvents, *, stall_timeout: float = GROWING_STALL_TIMEOUT
    ) -> None:
        self._fd: int | None = fd
        self._span = span
        self._events = events
        self._stall_timeout = stall_timeout

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        if self._fd is None:
            raise ValueError("the body is closed")
        rest = self._span
        with self._events.watching(self._fd) as changes:
            while rest.length:
                size = await self._wait_larger(self._fd, changes, than=rest.start)
                part = Span(rest.start, min(size, rest.stop))
                await _send(self._fd, part, sink)
                rest = rest.after(part.length)

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def _wait_larger(self, fd: int, changes: Changes, *, than: int) -> int:
        try:
            async with asyncio.timeout(self._stall_timeout):
                return await wait_larger(fd, changes, than=than)
        except TimeoutError as error:
            raise SourceBroken(f"no byte after the first {than} arrived for {self._stall_timeout:g} s") from error


async def _send(fd: int, part: Span, sink: Sink) -> None:
    if sink.fd is not None and part.length <= _FRESH_BYTES:
        await send_from_cache(fd, part, sink, sink.fd)
    else:
        # The descriptor is lent: nobody closes this body.
        await FileBody(fd, part).send_to(sink)


async def wait_larger(fd: int, changes: Changes, *, than: int) -> int:
    """The file's size as soon as it is larger than that; raises SourceBroken when the file is removed before."""
    while True:
        status = os.fstat(fd)
        if status.st_size > than:
            return status.st_size
        if not status.st_nlink:
            raise SourceBroken(f"what was arriving was given up after {status.st_size} bytes")
        await changes.wait()
