"""Bytes of content that another process is still writing to a file: first the bytes there, then each new byte."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from registryd.oci.ranges import Span
from registryd.transfer import striping
from registryd.transfer.errors import SourceBroken
from registryd.transfer.file import FileBody, send_from_cache
from registryd.transfer.monitoring.thresholds import GIVING_STALL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from registryd.aio.file_events import Changes, FileEvents
    from registryd.oci.digest import Digest
    from registryd.transfer.inflow import Inflow, Inflows
    from registryd.transfer.sink import Sink
    from registryd.transfer.stripe_board import StripeBoard

T = TypeVar("T")

# A reader this close behind the writer gets bytes that have just been written. Bytes that are older by more than a few
# of containerd's writes may have to come from the disk.
_FRESH_BYTES: Final = 4 * 1024 * 1024


class Arriving:
    """An open file that is being written from its beginning to its end, and what passes by on its way into it.

    The writer may rename the file when it is whole, which readers do not notice, or remove it, which is how it gives
    up.
    """

    def __init__(
        self,
        fd: int,
        inflow: Callable[[], Inflow | None],
        changes: Changes,
        *,
        sure: Callable[[], int] | None = None,
        board: Callable[[], StripeBoard | None] = lambda: None,
    ) -> None:
        """`sure` tells how much of the file is right; without it, all is. `board` has the stripes that are arriving."""
        self.fd = fd
        self._sure = sure
        self._inflow = inflow
        self._board = board
        self.begun_with = board()
        """The stripes that were arriving when this began."""
        self._changes = changes

    async def wait_beyond(self, position: int) -> int:
        """How much is here, as soon as it is more than that; raises SourceBroken when the file is removed before."""
        return await self._wait_more(lambda: reach(self.size(), self._inflow()), position)

    async def wait_changed(self) -> None:
        """Return when more may be here."""
        await self._changes.wait()

    async def wait_stripe(self, stripe: int, beyond: int, board: StripeBoard | None = None) -> int:
        """The same for a stripe, in bytes of the stripe; also SourceBroken when the stripes of that board fail."""

        def available() -> int:
            if board is not None and board.failure is not None:
                raise SourceBroken(f"the stripes do not come any more: {board.failure}")
            return stripe_reach(stripe, self.size(), self._inflow(), self._board())

        return await self._wait_more(available, beyond)

    async def _wait_more(self, available: Callable[[], int], beyond: int) -> int:
        while (there := available()) <= beyond:
            status = os.fstat(self.fd)
            if not status.st_nlink:
                raise SourceBroken(f"what was arriving was given up after {status.st_size} bytes")
            await self._changes.wait()
        return there

    def passing_of(self, stripe: int, position: int, part: Span) -> memoryview:
        """Some bytes of a stripe that the file does not have yet, from that position of it on.

        `part`: where the content has these bytes.
        """
        inflow, board = self._inflow(), self._board()
        if inflow and (data := inflow.here(part.start, part.length)):
            return data
        return board.after(stripe, position)[: part.length] if board else memoryview(b"")

    def size(self) -> int:
        """How much of what the file has is right."""
        return os.fstat(self.fd).st_size if self._sure is None else self._sure()

    def passing_after(self, position: int) -> memoryview:
        """Some of the bytes from there on that the file does not have yet, if any."""
        inflow = self._inflow()
        return inflow.after(position) if inflow else memoryview(b"")


@contextmanager
def watching_arrival(  # noqa: PLR0913 - what it watches, and how, all named
    fd: int,
    digest: Digest,
    *,
    events: FileEvents,
    inflows: Inflows,
    sure: Callable[[], int] | None = None,
    stripe: int | None = None,
) -> Iterator[Arriving]:
    """The file of the content, and the bytes that pass by, while a reader waits for either.

    `sure` as for Arriving; `stripe`: the only one that the reader waits for.
    """
    with events.watching(fd) as changes, inflows.watching(digest, changes, stripe):
        yield Arriving(fd, partial(inflows.of, digest), changes, sure=sure, board=partial(inflows.board_of, digest))


def reach(size: int, inflow: Inflow | None) -> int:
    """How much of the content is here when the file has so many bytes."""
    return inflow.reach(size) if inflow else size


def stripe_reach(stripe: int, size: int, inflow: Inflow | None, board: StripeBoard | None) -> int:
    """How much of the stripe is here when the file has so many bytes of the content."""
    here = reach(size, inflow)
    whole = striping.reach(stripe, here)
    return max(whole, board.told(stripe)) if board and board.span.start <= here else whole


class _FollowingBody(ABC):
    """A span that is arriving. Owns the descriptor of its file.

    When the writer gives up, and after `stall_timeout` seconds without a byte, there is SourceBroken after the last
    byte that came.
    """

    def __init__(
        self,
        fd: int,
        span: Span,
        watching: Callable[[int], AbstractContextManager[Arriving]],
        *,
        stall_timeout: float = GIVING_STALL_TIMEOUT,
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
                rest = rest.after(await self._send_some(arriving, rest, sink))

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    @abstractmethod
    async def _send_some(self, arriving: Arriving, rest: Span, sink: Sink) -> int:
        """Send the next bytes when they are here; returns how many bytes were sent."""

    async def _in_time(self, waiting: Coroutine[Any, Any, T], position: int) -> T:
        try:
            async with asyncio.timeout(self._stall_timeout):
                return await waiting
        except TimeoutError as error:
            reason = f"no byte after the first {position} arrived for {self._stall_timeout:g} s"
            raise SourceBroken(reason) from error


class GrowingBody(_FollowingBody):
    """A span of content."""

    async def _send_some(self, arriving: Arriving, rest: Span, sink: Sink) -> int:
        """From the file, or else from the bytes about to be written."""
        await self._in_time(arriving.wait_beyond(rest.start), rest.start)
        size = min(arriving.size(), rest.stop)
        if size > rest.start:
            await _send(arriving.fd, Span(rest.start, size), sink, behind=size - rest.start)
            return size - rest.start
        data = arriving.passing_after(rest.start)[: rest.length]
        await sink.write(data)
        return len(data)


class WholeStripeBody:
    """A span of a stripe of content that is whole, in bytes of the stripe. Owns the body whose file it reads."""

    def __init__(self, whole: FileBody, stripe: int, span: Span, *, size: int) -> None:
        """`size` is that of the content."""
        self._whole = whole
        self._stripe = stripe
        self._span = span
        self._size = size

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        rest = self._span
        while rest.length:
            part = striping.place(self._stripe, rest.start, self._size).first(rest.length)
            # The descriptor is lent, so this body is not closed.
            await FileBody(self._whole.fd, part).send_to(sink)
            rest = rest.after(part.length)

    async def aclose(self) -> None:
        await self._whole.aclose()


class StripeBody(_FollowingBody):
    """A span of a stripe, in bytes of the stripe; also broken when the node gets its stripes no more.

    It gets the content in another way from then on, and has its link for that.
    """

    def __init__(  # noqa: PLR0913 - what it gives, and how, all named
        self,
        fd: int,
        stripe: int,
        span: Span,
        watching: Callable[[int], AbstractContextManager[Arriving]],
        *,
        size: int,
        stall_timeout: float = GIVING_STALL_TIMEOUT,
    ) -> None:
        """`size` is that of the content."""
        super().__init__(fd, span, watching, stall_timeout=stall_timeout)
        self._stripe = stripe
        self._size = size

    async def _send_some(self, arriving: Arriving, rest: Span, sink: Sink) -> int:
        found = await self._in_time(self._wait_found(arriving, rest), rest.start)
        if isinstance(found, Span):
            await _send(arriving.fd, found, sink, behind=arriving.size() - found.start)
            return found.length
        await sink.write(found)
        return len(found)

    async def _wait_found(self, arriving: Arriving, rest: Span) -> Span | memoryview:
        """The next bytes of the stripe, or where they are in the file."""
        part = striping.place(self._stripe, rest.start, self._size).first(rest.length)
        while True:
            await arriving.wait_stripe(self._stripe, rest.start, arriving.begun_with)
            if (size := arriving.size()) > part.start:
                return Span(part.start, min(size, part.stop))
            if data := arriving.passing_of(self._stripe, rest.start, part):
                return data
            await arriving.wait_changed()  # they are on their way from memory to the file


async def _send(fd: int, part: Span, sink: Sink, *, behind: int) -> None:
    """Send this part of the file, which begins so many bytes behind the newest."""
    if sink.fd is not None and behind <= _FRESH_BYTES:
        await send_from_cache(fd, part, sink, sink.fd)
    else:
        # The descriptor is lent, so this body is not closed.
        await FileBody(fd, part).send_to(sink)
