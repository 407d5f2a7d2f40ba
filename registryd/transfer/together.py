"""A span from several sources side by side: each gets the piece that is next, and the receiver gets them in order."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import AllBroken, SourceBroken, SourceBusy
from registryd.transfer.pieces import Pieces
from registryd.transfer.supplying import Supply

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from registryd.oci.ranges import Span
    from registryd.transfer.pieces import Piece
    from registryd.transfer.sink import Sink
    from registryd.transfer.slots import Slots
    from registryd.transfer.supplying import Supplier

# Of one body: more sources than that want more memory, and a node's link is seldom faster than six others'.
MOST_AT_ONCE: Final = 6
# How often to check whether a source without work could give the next bytes sooner than the source asked for them.
_LOOK_SECONDS: Final = 0.1
# "Sooner": the other has to connect, and what is on its way from the first is thrown away.
_SOONER: Final = 2.0
_CHANGE_SECONDS: Final = 0.1
# At a time, so that what is sent on is what has just come: 1 MiB is 8 ms at 1 Gbit/s.
_SEND_BYTES: Final = 1 << 20


class Together:
    """Gets a span from suppliers that may come and go.

    When a source breaks, the bytes that it gave of a piece are kept, and another source is asked for the rest. So only
    bytes that were on their way when a source was left come twice.
    """

    def __init__(self, span: Span, slots: Slots) -> None:
        self._pieces = Pieces(span, slots)
        self._supplies: dict[Supply, asyncio.Task[None]] = {}
        self._sources: dict[Hashable, Supply] = {}
        self._waiting: deque[Supply] = deque()
        self.lost: set[Hashable] = set()
        """The sources that have broken off, or were silent or busy too often."""
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_waiting = False
        self._idle: set[Supply] = set()
        self._reasons: list[SourceBroken] = []

    @property
    def count(self) -> int:
        """How many take part."""
        return len(self._supplies)

    def join(self, supplier: Supplier, rate: float | None = None) -> None:
        """Let it take part as soon as there is a place; each may once."""
        if supplier.source not in self._sources:
            supply = self._sources[supplier.source] = Supply(supplier, rate)
            self._waiting.append(supply)
            self._fill_places()

    def _fill_places(self) -> None:
        while self._waiting and self.count < MOST_AT_ONCE and not self._pieces.is_over:
            supply = self._waiting.popleft()
            self._supplies[supply] = asyncio.create_task(self._work(supply), name="get pieces")

    def rates(self) -> Iterable[tuple[Supplier, int, float | None]]:
        """The bytes and the rate of each source, as far as the rate is known."""
        return [(supply.supplier, supply.given, supply.rate) for supply in self._sources.values()]

    async def send_to(self, sink: Sink) -> None:
        """Send the span in order; raises AllBroken when no source takes part any more, SinkClosed."""
        looking = asyncio.create_task(self._look_after(), name="look after pieces")
        try:
            while not self._pieces.is_over:
                await self._send_head(sink)
        finally:
            looking.cancel()
            await asyncio.wait((looking,))
            if not looking.cancelled():
                looking.result()  # it ends for no other reason than a fault of ours

    async def aclose(self) -> None:
        """End all that is under way; raises what must not have happened there."""
        self._waiting.clear()
        tasks = list(self._supplies.values())
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            # A task, and an error, keep the frames that they ended, and so this object: a circle with all slots in it.
            self._supplies.clear()
            self._reasons.clear()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                task.result()

    async def _send_head(self, sink: Sink) -> None:
        head, at = self._pieces.head, 0
        while head is None or at < head.span.length:
            if head is None or at == head.filled:
                await self._wait_arrived(head, at)
                head = self._pieces.head
                continue
            stop = min(head.filled, at + _SEND_BYTES)
            await sink.write(head.slot[at:stop])
            at = stop
        self._pieces.sent()
        self._wake()

    async def _wait_arrived(self, head: Piece | None, at: int) -> None:
        self._require_somebody()
        self._arrived.clear()
        self._is_waiting = True
        try:
            await self._arrived.wait()
        finally:
            self._is_waiting = False
        if head is not None and head.filled == at:
            self._require_somebody()

    def _require_somebody(self) -> None:
        for task in [task for task in self._supplies.values() if task.done()]:
            task.result()  # it ends for no other reason than a fault of ours
        if not self._supplies:
            raise AllBroken("no source is left", reasons=self._reasons)

    async def _work(self, supply: Supply) -> None:
        try:
            while not supply.is_hopeless and (piece := await self._next_piece(supply)) is not None:
                await self._get(supply, piece)
            if supply.is_hopeless:
                self.lost.add(supply.supplier.source)
                supply.retire()
        except SourceBroken as reason:
            self._reasons.append(reason)
            self.lost.add(supply.supplier.source)
            supply.supplier.failed(reason)
        except BaseException:
            self._arrived.set()
            raise
        del self._supplies[supply]
        self._fill_places()
        self._arrived.set()

    async def _get(self, supply: Supply, piece: Piece) -> None:
        try:
            await supply.fill(piece, partial(self._tell, piece))
        except SourceBusy as reason:
            self._reasons.append(reason)
            supply.rest(busy=True)
        finally:
            if piece.rest.length:
                self._pieces.put_back(piece)
                self._wake()

    def _tell(self, piece: Piece) -> None:
        if piece is self._pieces.head:
            self._arrived.set()

    async def _next_piece(self, supply: Supply) -> Piece | None:
        """The next piece for this source, when there is one; None when there are no more pieces."""
        while not self._pieces.is_over:
            rests = supply.rests_until - asyncio.get_running_loop().time()
            if rests > 0:
                await asyncio.sleep(rests)
            size = supply.size_of_next(self._pieces.unplanned, self.count)
            if piece := self._pieces.take(size):
                return piece
            self._idle.add(supply)
            try:
                await self._changed.wait()
            finally:
                self._idle.discard(supply)
        return None

    def _wake(self) -> None:
        """Wake all sources that wait for work."""
        self._changed.set()
        self._changed.clear()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._is_waiting and self._idle:
                self._relieve()

    def _relieve(self) -> None:
        """Leave the source of the next bytes if a source without work would give them sooner."""
        head = self._pieces.head
        busy = next((supply for supply in self._supplies if head is not None and supply.piece is head), None)
        if head is None or busy is None:
            return
        sooner = min(supply.seconds_for(head.rest.length) for supply in self._idle)
        if busy.seconds_left(head) > sooner * _SOONER + _CHANGE_SECONDS:
            busy.leave()
