"""Content from files that are still being written, the same for every store that receives into files."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.file_events import FileEvents
from registryd.aio.recent import Recent
from registryd.content.growing import GrowingContent, NotArrived, stripe_of
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.transfer import striping
from registryd.transfer.errors import SourceBroken
from registryd.transfer.growing import GrowingBody, StripeBody, reach, stripe_reach, watching_arrival
from registryd.transfer.inflow import Inflows
from registryd.transfer.monitoring.thresholds import GIVING_STALL_TIMEOUT, GROWING_STALL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.transfer.growing import Arriving
    from registryd.transfer.inflow import Inflow
    from registryd.transfer.stripe_board import StripeBoard

    OpenIngest = Callable[[Digest], tuple[int, int]]


# More than a containerd receives at a time.
_MOST_INGESTS: Final = 1000


class GrowingFiles:
    """A GrowingSource over the files of ingests.

    A file that has not been written to for `stall_timeout` seconds is passed over, unless another node is to blame: its
    writer is dead, or stuck. A body of one ends after `giving_timeout` seconds without a byte.
    """

    def __init__(
        self,
        open_ingest: OpenIngest,
        media_type: Callable[[Digest], str | None],
        *,
        stall_timeout: float = GROWING_STALL_TIMEOUT,
        giving_timeout: float = GIVING_STALL_TIMEOUT,
    ) -> None:
        """`open_ingest` gives a new descriptor and the size in the end, or raises as `GrowingSource.growing` does.

        `media_type` says what is known without reading anything.
        """
        self._open_ingest = open_ingest
        self._media_type = media_type
        self._stall_timeout = stall_timeout
        self._giving_timeout = giving_timeout
        self.events = FileEvents()
        """Told by the kernel; for others that watch files and folders, too."""
        self.inflows = Inflows()
        self._written: Recent[Digest, tuple[int, float]] = Recent(_MOST_INGESTS)
        """When files were last written to: by their own time, and by the loop's clock."""

    async def growing(self, digest: Digest) -> GrowingContent:
        with self._opened(digest) as (fd, size):
            return self._describe(digest, fd, size)

    async def begun(self, digest: Digest) -> GrowingContent:
        with self._opened(digest) as (fd, size):
            return self._describe(digest, fd, size, is_patient=True)

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        fd, size = self._open_ingest(digest)
        try:
            content = self._describe(digest, fd, size)
            span = wanted(size)
            _require_arrived(content, span.start)
        except BaseException:
            os.close(fd)
            raise
        body = GrowingBody(fd, span, partial(self._watching, digest, size), stall_timeout=self._giving_timeout)
        return OpenContent(content, span, body)

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        with self._opened(digest) as (fd, size):
            whole = striping.reach(stripe, size)
            if beyond is not None and whole:
                with self._watching(digest, size, fd, stripe=stripe) as arriving:
                    try:
                        await arriving.wait_stripe(stripe, min(beyond, whole - 1))
                    except SourceBroken as error:
                        raise ContentNotFound(str(error)) from error
            content = self._describe(digest, fd, size)
            available = stripe_reach(stripe, self._sure(digest, size, fd), *self._passing(digest))
            return stripe_of(content, stripe, min(whole, available))

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        fd, size = self._open_ingest(digest)
        try:
            content = self._describe(digest, fd, size)
            available = stripe_reach(stripe, self._sure(digest, size, fd), *self._passing(digest))
            part = stripe_of(content, stripe, available)
            span = wanted(part.size)
            _require_arrived(part, span.start)
        except BaseException:
            os.close(fd)
            raise
        watching = partial(self._watching, digest, size, stripe=stripe)
        body = StripeBody(fd, stripe, span, watching, size=size, stall_timeout=self._giving_timeout)
        return OpenContent(content, span, body)

    def _passing(self, digest: Digest) -> tuple[Inflow | None, StripeBoard | None]:
        return self.inflows.of(digest), self.inflows.board_of(digest)

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        with self._opened(digest) as (fd, size), self._watching(digest, size, fd) as arriving:
            try:
                await arriving.wait_beyond(min(beyond, size - 1))
            except SourceBroken as error:
                raise ContentNotFound(str(error)) from error
            return self._describe(digest, fd, size)

    def _watching(
        self, digest: Digest, size: int, fd: int, *, stripe: int | None = None
    ) -> AbstractContextManager[Arriving]:
        sure = partial(self._sure, digest, size, fd)
        return watching_arrival(fd, digest, events=self.events, inflows=self.inflows, sure=sure, stripe=stripe)

    def _sure(self, digest: Digest, size: int, fd: int) -> int:
        """The number of bytes of the open file that are right."""
        status = os.fstat(fd)
        sure = min(status.st_size, self.inflows.sure.of(digest))
        if sure < status.st_size == size and self._is_accepted(digest, status):
            return size
        return sure

    def _is_accepted(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether the file is no ingest any more: containerd has verified or removed it."""
        try:
            with self._opened(digest) as (fd, _):
                return not os.path.samestat(os.fstat(fd), status)
        except ContentNotFound:
            return status.st_nlink > 0
        except ContentUnavailable:
            return False

    def _silence(self, digest: Digest, status: os.stat_result) -> float:
        """For how many seconds the file has not been written to.

        The system's clock may be set: it is asked once for each write, and the loop's clock counts on from there.
        """
        known = self._written.get(digest)
        if known is None or known[0] != status.st_mtime_ns:
            known = (status.st_mtime_ns, clock.now() - max(0.0, time.time() - status.st_mtime))
            self._written.put(digest, known)
        return clock.now() - known[1]

    @contextmanager
    def _opened(self, digest: Digest) -> Iterator[tuple[int, int]]:
        fd, size = self._open_ingest(digest)
        try:
            yield fd, size
        finally:
            os.close(fd)

    def _describe(self, digest: Digest, fd: int, size: int, *, is_patient: bool = False) -> GrowingContent:
        status = os.fstat(fd)
        if not status.st_nlink:
            raise ContentNotFound("its receiver has just given it up")
        sure = self._sure(digest, size, fd)
        available = min(size, reach(sure, self.inflows.of(digest)))
        silence = self._silence(digest, status)
        # What the agent has taken in is here, however long containerd lets it wait for a place.
        board = self.inflows.board_of(digest)
        is_held_up = self.inflows.is_held_up(digest)
        is_waited_for = is_held_up or available > sure or (board is not None and board.has_told)
        if status.st_size < size and silence > self._stall_timeout and not (is_patient or is_waited_for):
            raise ContentNotFound(f"its receiver has got nothing for {silence:.0f} s")
        withheld = max(0, min(size, status.st_size) - available)
        return GrowingContent(digest, size, self._media_type(digest), available, withheld, is_held_up)


def _require_arrived(content: GrowingContent, first: int) -> None:
    if content.available <= first:
        raise NotArrived(f"{content.available} bytes of it are here")
