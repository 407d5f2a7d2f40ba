"""One of several sources of a body: how large a piece it is asked for next, and what it shows of itself by each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio import clock
from registryd.aio.cancelling import CancelScope
from registryd.transfer.errors import SourceBroken, SourceBusy
from registryd.transfer.monitoring.thresholds import (
    LONGEST_SILENT_PAUSE_SECONDS,
    MOST_SILENCES_IN_A_ROW,
    SILENCE_SECONDS,
    SILENT_PAUSE_SECONDS,
    TELLING_SECONDS,
    UNKNOWN_SECONDS,
)
from registryd.transfer.sink import Sink
from registryd.transfer.slots import SLOT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.pieces import Piece

# A source needs so long for the piece that it is asked for, so that a slow source does not hold the body up for longer.
_PIECE_SECONDS: Final = 0.2
_LEAST_PIECE: Final = 256 * 1024
# The piece for a source whose rate is not known.
_FIRST_PIECE: Final = 1 << 20


class Supplier(Protocol):
    """A source of parts of one content."""

    @property
    def source(self) -> Hashable:
        """The identity of the source: a body asks each source for one piece at a time."""

    async def open(self, span: Span) -> Body:
        """A part of the content, when its first byte is here. Raises SourceBroken; SourceBusy: it may later."""

    def failed(self, reason: SourceBroken) -> None:
        """Note that it broke off, or was silent or busy too often."""


class Supply:
    """A supplier at work; `rate` is what it gives, in bytes a second, as far as that is known."""

    def __init__(self, supplier: Supplier, rate: float | None = None) -> None:
        self.supplier = supplier
        self.rate = rate
        self.piece: Piece | None = None
        self.given = 0
        self.rests_until = 0.0
        self._left_in_a_row = 0
        self._was_busy = False
        self._was_left = False
        self._begun = self._heard = 0.0
        self._begun_with = 0
        self._filling = CancelScope()

    @property
    def is_hopeless(self) -> bool:
        """Whether the source has been silent or busy too often."""
        return self._left_in_a_row >= MOST_SILENCES_IN_A_ROW

    def retire(self) -> None:
        """Ask this source for nothing any more."""
        busy = SourceBusy("the source was busy too often", retry_after=None)
        self.supplier.failed(busy if self._was_busy else SourceBroken("the source was silent too often"))

    def size_of_next(self, unplanned: int, supplies: int) -> int:
        """How much to ask for: what takes it a moment, and near the end as much less as there are others."""
        size = _FIRST_PIECE if self.rate is None else int(self.rate * _PIECE_SECONDS)
        return max(_LEAST_PIECE, min(size, SLOT_BYTES, unplanned // (2 * supplies)))

    async def fill(self, piece: Piece, tell: Callable[[], None]) -> None:
        """Get the rest of a piece; `tell` is called with each step. Returns early when it is left.

        Raises SourceBroken.
        """
        self.piece, self._begun_with, self._was_left = piece, piece.filled, False
        self._begun = self._heard = clock.now()
        self._filling = CancelScope()
        try:
            async with self._filling:
                body = await self.supplier.open(piece.rest)
                try:
                    await body.send_to(_PieceSink(self, piece, tell))
                finally:
                    await body.aclose()
                if piece.rest.length:
                    raise SourceBroken("the source gave less than was asked for")
                self._left_in_a_row = 0
        finally:
            self.piece = None
            self._learn(piece)

    def heard(self) -> None:
        """Note that it has just given something."""
        self._heard = clock.now()

    def leave(self) -> None:
        """Let others give the rest of its piece; a silent one is left alone for a while."""
        if not self._filling.cancel():
            return
        is_silent = clock.now() - self._heard >= SILENCE_SECONDS
        self.rest(busy=False) if is_silent else self._pause(SILENT_PAUSE_SECONDS)
        self._was_left = True

    def rest(self, *, busy: bool) -> None:
        """Ask this source for nothing for a while, because it is silent or busy; each time for longer."""
        seconds = SILENT_PAUSE_SECONDS * 2**self._left_in_a_row
        self._left_in_a_row += 1
        self._was_busy = busy
        self._pause(min(LONGEST_SILENT_PAUSE_SECONDS, seconds))

    def seconds_left(self, piece: Piece) -> float:
        """How long its piece is going to take it, at the present rate."""
        now = clock.now()
        if now - self._heard >= SILENCE_SECONDS:
            return float("inf")
        count, seconds = piece.filled - self._begun_with, now - self._begun
        rate = count / seconds if seconds >= TELLING_SECONDS else self.rate
        return piece.rest.length / rate if rate else seconds

    def seconds_for(self, count: int) -> float:
        """How long so many bytes would take it."""
        return count / self.rate if self.rate else UNKNOWN_SECONDS

    def _pause(self, seconds: float) -> None:
        self.rests_until = clock.now() + seconds

    def _learn(self, piece: Piece) -> None:
        count, seconds = piece.filled - self._begun_with, clock.now() - self._begun
        self.given += count
        if count < _LEAST_PIECE and seconds < TELLING_SECONDS:
            return
        rate = count / max(seconds, 1e-6)
        self.rate = rate if self.rate is None or self._was_left else (self.rate + rate) / 2


class _PieceSink(Sink):
    """Puts what is sent into a piece."""

    def __init__(self, supply: Supply, piece: Piece, tell: Callable[[], None]) -> None:
        self.sent = 0
        self._supply = supply
        self._piece = piece
        self._tell = tell

    async def write(self, data: bytes | memoryview) -> None:
        self._piece.fill(data)
        self._took(len(data))

    @property
    def room(self) -> memoryview:
        return self._piece.room

    def filled(self, count: int) -> None:
        self._piece.filled += count
        self._took(count)

    def _took(self, count: int) -> None:
        self.sent += count
        self._supply.heard()
        self._tell()
