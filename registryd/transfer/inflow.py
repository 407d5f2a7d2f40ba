"""Bytes of one content between their source and this node's store.

The agent reads a source as quickly as the source gives, whether or not containerd has asked for the content yet. Since
2.1 containerd asks for the layers of an image in an order of its own, a few at a time, and would miss the layers that
other nodes receive meanwhile. The agent keeps the bytes in bounded memory until containerd has taken them, and gives
them to other nodes from there. containerd writes 1 MiB at a time, and a node that follows only containerd's file would
be as far behind.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.expiring import ExpiringSet
from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.thresholds import GROWING_STALL_TIMEOUT
from registryd.transfer.sink import Sink
from registryd.transfer.stripe_board import StripeBoard, together
from registryd.transfer.sure import SureBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from registryd.aio.file_events import Changes
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span

# The bytes that containerd is about to write, and those in its socket when it is as quick as the link: kept after
# sending.
KEPT_BYTES: Final = 1536 * 1024
# Followers are told of so many at a time: each telling costs a turn of the event loop for each of them, here and in all
# nodes below. An eighth of containerd's step.
STEP_BYTES: Final = 128 * 1024
# The bytes that an inflow may hold while containerd takes it, whatever else is in memory, so that it always moves on.
_ALWAYS_BYTES: Final = 1024 * 1024
# Without a byte for so long, a reader may have better things to do.
_STALL_SECONDS: Final = 0.25
# The bytes that one inflow may hold: a layer without a request leaves room for others.
_MOST_BYTES: Final = 32 * 1024 * 1024
# Contents that other nodes stopped giving.
_LEFT_REMEMBERED: Final = 1000


class InflowMemory:
    """The bytes that all inflows of an agent hold together."""

    def __init__(self, most: int) -> None:
        """`most`: with so many, sources are not read any further unless containerd is taking what they give."""
        self.most = most
        self.held = 0
        self.total = 0
        """All that has ever come."""
        self.given = 0
        """All that was ever given to readers."""
        self._changed = asyncio.Event()
        self._for_room: set[asyncio.Event] = set()

    @property
    def is_full(self) -> bool:
        return self.held >= self.most

    @property
    def is_roomy(self) -> bool:
        """Whether less than half of it is held."""
        return self.held * 2 < self.most

    def take(self, count: int) -> None:
        """Note that so many more bytes are held."""
        self.held += count
        self.total += count

    def give_back(self, count: int) -> None:
        """Note that so many fewer bytes are held."""
        self.held -= count
        self.tell()
        if not self.is_full:
            for room in self._for_room:
                room.set()

    def hand_on(self, count: int) -> None:
        """Note that so many bytes go from one holder to another, which takes them anew."""
        self.held -= count
        self.total -= count

    def tell(self) -> None:
        """Wake the waiting tasks: there may be room for them."""
        self._changed.set()
        self._changed.clear()

    async def wait_change(self) -> None:
        """Return when bytes were given back, or room may be had for another reason."""
        await self._changed.wait()

    @contextmanager
    def telling(self, room: asyncio.Event) -> Iterator[None]:
        """Set the event when bytes were given back, and it is not full any more.

        For who waits for that alone: `wait_change` returns with each step of a reader of any content.
        """
        self._for_room.add(room)
        try:
            yield
        finally:
            self._for_room.discard(room)


class Inflow:
    """The bytes of a span that have come, as far as they are still needed; one reads them, many may follow."""

    def __init__(self, span: Span, memory: InflowMemory, tell: Callable[[], None]) -> None:
        """`tell` is called when there is more for followers."""
        self.span = span
        self.end = span.start
        """The place in the content of the byte that is to come next."""
        self._memory = memory
        self._tell = tell
        self._chunks: list[bytes] = []
        self._starts: list[int] = []
        self._told = span.start
        self._read = span.start
        # Where the readers are: one, or more when several clients want the same.
        self._positions: dict[object, int] = {}
        self._failure: SourceBroken | None = None
        self._failed_at: float | None = None
        self._more = asyncio.Event()
        self._left = asyncio.Event()

    # From the source

    async def put(self, data: bytes | memoryview) -> None:
        """Add the next bytes. Mutable bytes are copied. Returns when there is room for more."""
        self.take(data)
        while not (self.is_whole or self._has_room()):
            await self._memory.wait_change()

    def take(self, data: bytes | memoryview) -> None:
        """The next bytes, whether or not there is room."""
        self._chunks.append(data if isinstance(data, bytes) else bytes(data))
        self._starts.append(self.end)
        self.end += len(data)
        self._memory.take(len(data))
        self._more.set()
        if self.end - self._told >= STEP_BYTES or self.end == self.span.stop:
            self._told = self.end
            self._tell()

    def fail(self, failure: SourceBroken) -> None:
        """No more will come."""
        self._failure = failure
        self._failed_at = clock.now()
        self._more.set()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return self.end == self.span.stop

    @property
    def is_held_up(self) -> bool:
        """Whether nothing comes because the source gives nothing, or because none has been left for a moment."""
        if self._failed_at is not None:
            return clock.now() - self._failed_at < GROWING_STALL_TIMEOUT
        return not self.is_whole and self._has_room()

    # For containerd

    @property
    def start(self) -> int:
        """The first byte that is still here; where the next one will be when there is none."""
        return self._starts[0] if self._starts else self.end

    def can_give(self, position: int) -> bool:
        """Whether a reader can begin there, now or when more has come."""
        return self.start <= position < self.end or (position == self.end and self._failure is None)

    @property
    def is_being_read(self) -> bool:
        return bool(self._positions)

    @property
    def _position(self) -> int | None:
        """How far the reader is that is furthest: it is not held up by the others."""
        return max(self._positions.values(), default=None)

    async def wait_left(self) -> None:
        """Return when a reader has ended; at once if one has since this was last called."""
        await self._left.wait()
        self._left.clear()

    @property
    def is_used_up(self) -> bool:
        """Whether no more bytes will come, all were read, and no reader is left."""
        return not self.is_being_read and self._read >= (self.span.stop if self._failure is None else self.end)

    async def _has_come(self, position: int) -> bool:
        """Whether there are bytes from there on, within a moment. Raises SourceBroken when there will be none."""
        if self.end <= position:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STALL_SECONDS):
                    await self.wait_beyond(position)
        return self.end > position

    async def wait_beyond(self, position: int) -> None:
        """Return when there are bytes from there on. Raises SourceBroken when there will be none."""
        while self.end <= position:
            if self._failure is not None:
                raise SourceBroken(str(self._failure)) from self._failure
            self._more.clear()
            await self._more.wait()

    @property
    def is_left_waiting(self) -> bool:
        """Whether there are bytes and no reader."""
        return self._position is None and self.end > self._read

    @property
    def is_being_sent(self) -> bool:
        """Whether there are bytes and a reader."""
        return self._position is not None and self.end > self._position

    async def send(self, span: Span, sink: Sink, *, is_to_go_on: Callable[[], bool] = lambda: True) -> None:
        """Send these bytes as they come. Raises SourceBroken, SinkClosed.

        When none has come for a moment, `is_to_go_on` says whether to wait for more; otherwise there is SourceBroken.
        """
        begun_at = sink.sent
        reader = object()
        self._read_to(reader, span.start)
        try:
            while (position := span.start + sink.sent - begun_at) < span.stop:
                self._read_to(reader, position)
                while not await self._has_come(position):
                    if sink.sent > begun_at and not is_to_go_on():
                        raise SourceBroken("containerd has more to take elsewhere")
                data = self._at(position)[: span.stop - position]
                if not data:
                    raise SourceBroken("another request has taken these bytes")
                await sink.write(data)
                self._memory.given += len(data)
            self._read_to(reader, span.stop)
        finally:
            del self._positions[reader]
            self._left.set()

    # For followers

    def reach(self, size: int) -> int:
        """How much of the content is here when the file has its first `size` bytes."""
        return max(size, self._told) if self.start <= size else size

    def after(self, position: int) -> memoryview:
        """Some of the bytes from there on; none when they are not here."""
        return self._at(position)[: self._told - position] if position < self._told else memoryview(b"")

    def here(self, position: int, most: int) -> memoryview:
        """So many bytes from there on, or fewer; with those of which followers of the content are not told yet."""
        if not self.start <= position < self.end:
            return memoryview(b"")
        place = bisect_right(self._starts, position) - 1
        skipped = position - self._starts[place]
        return together(islice(self._chunks, place, None), skipped, skipped + most)

    def close(self) -> None:
        """Release all bytes; readers learn that no more will come."""
        self._memory.give_back(self.end - self.start)
        self._chunks.clear()
        self._starts.clear()
        if self._failure is None:
            self.fail(SourceBroken("it is not taken in any more"))

    def _read_to(self, reader: object, position: int) -> None:
        """Note that the bytes before are on their way to the file, and that those long before are in the file."""
        self._positions[reader] = position
        self._read = position if self._position is None else self._position
        passed = bisect_right(self._starts, self._read - KEPT_BYTES) - 1
        if passed > 0:
            self._memory.give_back(self._starts[passed] - self._starts[0])
            del self._chunks[:passed], self._starts[:passed]
        else:
            self._memory.tell()

    def _at(self, position: int) -> memoryview:
        if not self.start <= position < self.end:
            return memoryview(b"")
        place = bisect_right(self._starts, position) - 1
        return memoryview(self._chunks[place])[position - self._starts[place] :]

    def _has_room(self) -> bool:
        if self._position is not None and self.end - self._position < _ALWAYS_BYTES:
            return True
        unread = self.end - self._read
        return not self._memory.is_full and unread < _MOST_BYTES


class Inflows:
    """All inflows of this node, and the tasks that wait for one."""

    def __init__(self, memory: InflowMemory | None = None) -> None:
        self.memory = memory or InflowMemory(_MOST_BYTES)
        self.sure = SureBytes()
        """How much of what containerd writes is right."""
        self._boards: dict[Digest, StripeBoard] = {}
        self._current: dict[Digest, Inflow] = {}
        self._left: ExpiringSet[Digest] = ExpiringSet(lifetime=GROWING_STALL_TIMEOUT, capacity=_LEFT_REMEMBERED)
        """What other nodes did not give to the end, and containerd has to get elsewhere."""
        self._waiting: defaultdict[Digest, dict[Changes, int | None]] = defaultdict(dict)
        """Who waits for which stripe; None: for the content from its beginning on."""

    @contextmanager
    def flowing(self, digest: Digest, span: Span) -> Iterator[Inflow]:
        """An inflow of this span; of several of the same content the latest is what followers see."""
        inflow = self._current[digest] = Inflow(span, self.memory, partial(self._tell, digest))
        try:
            yield inflow
        finally:
            if self._current.get(digest) is inflow:
                del self._current[digest]
                if not inflow.is_whole:
                    self._left.add(digest)
            inflow.close()

    @contextmanager
    def in_stripes(self, digest: Digest, span: Span) -> Iterator[StripeBoard]:
        """The stripes of this span, as they come; of several of the same content the latest is what followers see."""
        board = self._boards[digest] = StripeBoard(span, self.memory, partial(self._tell_stripe, digest))
        try:
            yield board
        finally:
            if self._boards.get(digest) is board:
                del self._boards[digest]
            board.close()

    def board_of(self, digest: Digest) -> StripeBoard | None:
        """The stripes of this content that are on their way."""
        return self._boards.get(digest)

    def _tell(self, digest: Digest) -> None:
        """Tell that more has flowed in: of what came in stripes, the followers of stripes were told before."""
        for changes, stripe in self._waiting.get(digest, {}).items():
            if stripe is None or digest not in self._boards:
                changes.tell()

    def _tell_stripe(self, digest: Digest, stripe: int | None) -> None:
        """Tell the followers of that stripe; None: of all stripes."""
        for changes, followed in self._waiting.get(digest, {}).items():
            if followed is not None and stripe in {None, followed}:
                changes.tell()

    @contextmanager
    def watching(self, digest: Digest, changes: Changes, stripe: int | None = None) -> Iterator[None]:
        """Tell of what comes until the block ends; with a stripe, only of that."""
        self._waiting[digest][changes] = stripe
        try:
            yield
        finally:
            del self._waiting[digest][changes]
            if not self._waiting[digest]:
                del self._waiting[digest]

    @property
    def total(self) -> int:
        """Bytes that have ever flowed in."""
        return self.memory.total

    def contents(self) -> Collection[Digest]:
        """The digests that have an inflow now."""
        return self._current.keys()

    def of(self, digest: Digest) -> Inflow | None:
        return self._current.get(digest)

    def is_held_up(self, digest: Digest) -> bool:
        """Whether it is not for this node to do something if nothing of this content comes.

        The node waits for another one, or gave one up a moment ago: containerd is about to get the content elsewhere.
        So it is with each stripe: the inflow has room, so a source of that stripe, or of one before it, gives nothing.
        """
        inflow = self._current.get(digest)
        return digest in self._left if inflow is None else inflow.is_held_up


class InflowSink(Sink):
    """The end of a source: a sink that keeps what is written to it.

    The sink has no descriptor: the agent could not give followers bytes that only the kernel has seen. Copying costs
    0.2 s of processor time for each GiB, and saves every node below some 80 ms of a link of 100 Mbit/s.
    """

    def __init__(self, inflow: Inflow) -> None:
        self.sent = 0
        self._inflow = inflow

    async def write(self, data: bytes | memoryview) -> None:
        # Counted before there is room for more: a source that is left meanwhile has given these bytes.
        self.sent += len(data)
        await self._inflow.put(data)
