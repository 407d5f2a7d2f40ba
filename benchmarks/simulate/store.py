"""A simulated containerd's content: whole or arriving, and what receives it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from registryd.aio.file_events import Waiter
from registryd.content.growing import GrowingContent
from registryd.content.inventory import Stock
from registryd.content.provenance import Provenance
from registryd.content.source import Content, ContentNotFound, OpenContent
from registryd.oci.ranges import Span
from registryd.oci.reference import Repository
from registryd.transfer.errors import SourceBroken
from registryd.transfer.growing import stripe_reach
from registryd.transfer.inflow import Inflows
from registryd.transfer.sink import Sink
from registryd.transfer.striping import PIECE_BYTES, STRIPES, stripe_of
from registryd.transfer.striping import reach as stripe_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.transfer.stripe_board import StripeBoard


REPOSITORY: Final = Repository.parse("registry.example/app")


@dataclass(frozen=True)
class Blob:
    digest: Digest
    size: int


class SimulatedStore:
    """Content that is whole, or arrives."""

    def __init__(self) -> None:
        self.sizes: dict[Digest, int] = {}
        self.available: dict[Digest, int] = {}
        self.is_dead = False
        self.inflows = Inflows()
        self.arrivals = Waiter()
        self._changes: defaultdict[Digest, dict[Waiter, int | None]] = defaultdict(dict)
        """Who waits for which stripe of it; None: for the content from its beginning on."""
        self._changed = asyncio.Event()

    def begin(self, blob: Blob) -> None:
        if blob.digest not in self.sizes:
            self.sizes[blob.digest] = blob.size
            self.available[blob.digest] = 0
            self._changed.set()
            self.arrivals.tell()

    def grow(self, digest: Digest, count: int) -> None:
        before = self.available[digest]
        self.available[digest] = before + count
        if before + count == self.sizes[digest]:
            self._changed.set()
            self.arrivals.tell()
        self._wake(digest, Span(before, before + count))

    def pulled(self) -> None:
        """The image is complete: an event tells of it."""
        self._changed.set()

    def die(self) -> None:
        self.is_dead = True
        for digest in list(self._changes):
            self._wake(digest)

    async def wait_beyond(self, digest: Digest, offset: int) -> int:
        """How much is there, once it is more; SourceBroken when that will not be."""
        return await self._wait_more(digest, lambda: self.reach(digest), offset, stripe=None)

    async def _wait_more(self, digest: Digest, available: Callable[[], int], beyond: int, *, stripe: int | None) -> int:
        if (there := available()) <= beyond and not self.is_dead:
            changes, waiting = Waiter(), self._changes[digest]
            waiting[changes] = stripe
            try:
                with self.inflows.watching(digest, changes, stripe):
                    while (there := available()) <= beyond and not self.is_dead:
                        await changes.wait()
            finally:
                del waiting[changes]
        if self.is_dead:
            raise SourceBroken("the source is gone")
        return there

    def reach(self, digest: Digest) -> int:
        """What others can have from here: what flows in counts, too."""
        available, inflow = self.available.get(digest, 0), self.inflows.of(digest)
        return inflow.reach(available) if inflow else available

    def _wake(self, digest: Digest, grown: Span | None = None) -> None:
        """Tell those that wait for some of these bytes; None: all.

        An agent wakes all followers of the file, and those of other stripes find nothing new.
        """
        inflow = self.inflows.of(digest)
        begins_to_count = grown is not None and inflow is not None and inflow.start > grown.start
        stripes = set(range(STRIPES)) if grown is None or begins_to_count else stripes_of(grown)
        for changes, stripe in self._changes.get(digest, {}).items():
            if stripe is None or stripe in stripes:
                changes.tell()

    # What the real code asks

    async def find(self, digest: Digest) -> Content:
        if digest in self.sizes and self.available[digest] == self.sizes[digest]:
            return Content(digest, self.sizes[digest], None)
        raise ContentNotFound("not here")

    async def growing(self, digest: Digest) -> GrowingContent:
        if digest not in self.sizes or self.available[digest] == self.sizes[digest]:
            raise ContentNotFound("not arriving")
        return GrowingContent(digest, self.sizes[digest], None, self.reach(digest))

    begun = growing

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        if digest not in self.sizes:
            raise ContentNotFound("not arriving")
        size = self.sizes[digest]
        try:
            available = await self.wait_beyond(digest, min(beyond, size - 1))
        except SourceBroken as error:
            raise ContentNotFound(str(error)) from error
        return GrowingContent(digest, size, None, available)

    async def wait_stripe(self, digest: Digest, stripe: int, beyond: int, board: StripeBoard | None = None) -> int:
        """The same for a stripe, in bytes of the stripe; also SourceBroken when the stripes of that board fail."""

        def available() -> int:
            if board is not None and board.failure is not None:
                raise SourceBroken("the stripes do not come any more")
            return self.stripe_reach(digest, stripe)

        return await self._wait_more(digest, available, beyond, stripe=stripe)

    def stripe_reach(self, digest: Digest, stripe: int) -> int:
        available, inflows = self.available.get(digest, 0), self.inflows
        return stripe_reach(stripe, available, inflows.of(digest), inflows.board_of(digest))

    async def growing_stripe(self, digest: Digest, stripe: int, *, beyond: int | None = None) -> GrowingContent:
        content = await self.growing(digest) if beyond is None else None
        size = stripe_size(stripe, self.sizes.get(digest, 0))
        if beyond is not None and not size:
            raise ContentNotFound("not arriving")
        available = self.stripe_reach(digest, stripe)
        if content is None and beyond is not None:
            try:
                available = await self.wait_stripe(digest, stripe, min(beyond, size - 1))
            except SourceBroken as reason:
                raise ContentNotFound(str(reason)) from reason
        return GrowingContent(digest, size, None, min(size, available))

    async def open_stripe(self, digest: Digest, stripe: int, wanted: RangeOf) -> OpenContent:
        raise NotImplementedError

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise NotImplementedError

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise NotImplementedError

    async def resolve(self, name: object) -> Sequence[Any]:
        return ()

    async def provenance(self, content: Content) -> Provenance:
        return Provenance(is_nobodys=True)

    def namers(self, digest: Digest) -> frozenset[Repository]:
        return frozenset()

    async def stock(self) -> Stock:
        held = frozenset(digest for digest, size in self.sizes.items() if self.available[digest] == size)
        return Stock(held, frozenset(self.sizes) - held, is_complete=True)

    async def wait_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


class GrowingSink(Sink):
    """What arrives goes into the store."""

    def __init__(self, store: SimulatedStore, digest: Digest) -> None:
        self._store = store
        self._digest = digest
        self.sent = 0

    async def write(self, data: bytes | memoryview) -> None:
        self.sent += len(data)
        self._store.grow(self._digest, len(data))
        await asyncio.sleep(0)


def stripes_of(span: Span) -> set[int]:
    """The stripes that have some of these bytes."""
    first, last = span.start // PIECE_BYTES, (span.stop - 1) // PIECE_BYTES
    return {stripe_of(piece * PIECE_BYTES) for piece in range(first, min(last + 1, first + STRIPES))}
