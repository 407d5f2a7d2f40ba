"""A span of content in pieces: which of them are asked for, what has come of each, which is the next to be sent on.

How large a piece is, `registryd.transfer.supplying` decides for each source.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.slots import SLOT_BYTES

if TYPE_CHECKING:
    from registryd.transfer.slots import Slots


class Piece:
    """Some bytes of a content, and room for them. Bytes that have come stay right, whichever source gives the rest."""

    def __init__(self, span: Span, slot: memoryview) -> None:
        self.span = span
        self.filled = 0
        self.slot = slot

    @property
    def rest(self) -> Span:
        """The bytes that have not come yet."""
        return self.span.after(self.filled)

    @property
    def room(self) -> memoryview:
        """Where the rest of it belongs."""
        return self.slot[self.filled : self.span.length]

    def fill(self, data: bytes | memoryview) -> None:
        """Take the next bytes; raises SourceBroken when these are more than belong to it."""
        stop = self.filled + len(data)
        if stop > self.span.length:
            raise SourceBroken("the source gives more than was asked for")
        self.slot[self.filled : stop] = data
        self.filled = stop


class Pieces:
    """The pieces of one body between their source and the receiver; as many as there are slots."""

    def __init__(self, span: Span, slots: Slots) -> None:
        self.span = span
        self._slots = slots
        self._in_order: deque[Piece] = deque()
        self._returned: list[Piece] = []

    @property
    def unplanned(self) -> int:
        """Bytes that belong to no piece yet."""
        return self.span.length

    @property
    def is_over(self) -> bool:
        """Whether everything has been sent on."""
        return not self._in_order and not self.span.length

    @property
    def head(self) -> Piece | None:
        """The piece that is being sent on; None when no piece has been asked for."""
        return self._in_order[0] if self._in_order else None

    def take(self, size: int) -> Piece | None:
        """The piece to ask for next: the earliest returned one, or a new one; None when there is no room or no rest."""
        if self._returned:
            first = min(self._returned, key=lambda piece: piece.span.start)
            self._returned.remove(first)
            return first
        if not self.span.length or (slot := self._slots.take()) is None:
            return None
        count = min(size, SLOT_BYTES, self.span.length)
        piece = Piece(Span(self.span.start, self.span.start + count), slot)
        self.span = self.span.after(count)
        self._in_order.append(piece)
        return piece

    def put_back(self, piece: Piece) -> None:
        """Return a piece: another source has to give the rest of it."""
        self._returned.append(piece)

    def sent(self) -> None:
        """The head has been sent on to its last byte."""
        piece = self._in_order.popleft()
        self._slots.give_back(piece.slot)
