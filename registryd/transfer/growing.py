"""Bytes of content that another process is still writing to a file: first the bytes there, then each new byte."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.file import FileBody, send_from_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.aio.file_events import Changes, FileEvents
    from registryd.oci.digest import Digest
    from registryd.transfer.inflow import Inflow, Inflows
    from registryd.transfer.sink import Sink

# How long a file may stay as it is before its writer is taken for dead. containerd writes 1 MiB at a time, so this is a
# link of 70 KB/s. A node may also have to wait so long for the fetcher.
GROWING_STALL_TIMEOUT: Final = 15.0
# A reader this close behind the writer gets bytes that have just been written. Bytes that are older by more than a few
# of containerd's writes may have to come from the disk.
_FRESH_BYTES: Final = 4 * 1024 * 1024


class Arriving:
    """An open file that is being written from its beginning to its end, and what passes by on its way into it.

    The writer may rename the file when it is whole, which readers do not notice, or remove it, which is how it gives
    up.
    """

    def __init__(
        self, fd: int, inflow: Callable[[], Inflow | None], changes: Changes, *, sure: Callable[[], int] | None = None
    ) -> None:
        """`sure` tells how much of the file is right; without it, all is."""
        self.fd = fd
        self._sure = sure
        self._inflow = inflow
        self._changes = changes

    async def wait_beyond(self, position: int) -> int:
        """How much is here, as soon as it is more than that; raises SourceBroken when the file is removed before."""
        while True:
            if (available := reach(self.size(), self._inflow())) > position:
                return available
            status = os.fstat(self.fd)
            if not status.st_nlink:
                raise SourceBroken(f"what was arriving was given up after {status.st_size} bytes")
            await self._changes.wait()

    def size(self) -> int:
        """How much of what the file has is right."""
        return os.fstat(self.fd).st_size if self._sure is None else self._sure()

    def passing_after(self, position: int) -> memoryview:
        """Some of the bytes from there on that the file does not have yet, if any."""
        inflow = self._inflow()
        return inflow.after(position) if inflow else memoryview(b"")


@contextmanager
def watching_arrival(
    fd: int, digest: Digest, *, events: FileEvents, inflows: Inflows, sure: Callable[[], int] | None = None
) -> Iterator[Arriving]:
    """The file of the content, and the bytes that pass by, while a reader waits for either; `sure` as for Arriving."""
    with events.watching(fd) as changes, inflows.watching(digest, changes):
        yield Arriving(fd, partial(inflows.of, digest), changes, sure=sure)


def reach(size: int, inflow: Inflow | None) -> int:
    """How much of the content is here when the file has so many bytes."""
    return inflow.reach(size) if inflow else size


class GrowingBody:
    """A span of content that is arriving. Owns the descriptor of its file.

    When the writer gives up, and after `stall_timeout` seconds without a byte, there is SourceBroken after the last
    byte that came.
    """

    def __init__(
        self,
        fd: int,
        span: Span,
        watching: Callable[[int], AbstractContextManager[Arriving]],
        *,
        stall_timeout: float = GROWING_STALL_TIMEOUT,
    ) -> None:
        self._fd: int | None = fd
        self._span = span
        self._watching = watching
        self._stall_timeout = stall_timeout

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        if self._fd is None:
            raise ValueError("the body is closed")
        rest = self._span
        with self._watching(self._fd) as arriving:
            while rest.length:
                await self._wait_beyond(arriving, rest.start)
                rest = rest.after(await _send_some(arriving, rest, sink))

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    async def _wait_beyond(self, arriving: Arriving, position: int) -> None:
        try:
            async with asyncio.timeout(self._stall_timeout):
                await arriving.wait_beyond(position)
        except TimeoutError as error:
            raise SourceBroken(f"no byte after the first {position} arrived for {self._stall_timeout:g} s") from error


async def _send_some(arriving: Arriving, rest: Span, sink: Sink) -> int:
    """Send from the file, or else from the bytes about to be written; returns how many bytes were sent."""
    size = min(arriving.size(), rest.stop)
    if size > rest.start:
        await _send(arriving.fd, Span(rest.start, size), sink)
        return size - rest.start
    data = arriving.passing_after(rest.start)[: rest.length]
    await sink.write(data)
    return len(data)


async def _send(fd: int, part: Span, sink: Sink) -> None:
    if sink.fd is not None and part.length <= _FRESH_BYTES:
        await send_from_cache(fd, part, sink, sink.fd)
    else:
        # The descriptor is lent, so this body is not closed.
        await FileBody(fd, part).send_to(sink)
