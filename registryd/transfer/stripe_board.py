"""Bytes of a content that comes in stripes: kept until the bytes before them have come."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import SourceBroken
from registryd.transfer.sink import Sink
from registryd.transfer.striping import PIECE_BYTES, STRIPES, place, reach, stripe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registryd.oci.ranges import Span
    from registryd.transfer.inflow import InflowMemory

# How far one stripe may be ahead of the bytes that the receiver has taken, in bytes of the stripe: 24 MiB for all.
AHEAD_BYTES: Final = 3 * 1024 * 1024
# So many stripes that wait for another one are no chance: the others may have slow sources themselves.
_MANY: Final = 3


class StripeBoard:
    """The stripes of one span of a content, as far as they have come.

    Each stripe comes in order. The receiver takes the bytes of the content in order, and followers take the stripes.
    Bytes that the receiver has taken are not here any more: followers find them where the receiver has put them.
    """

    def __init__(self, span: Span, memory: InflowMemory, tell: Callable[[int | None], None]) -> None:
        """`tell` is called when there is more of a stripe for its followers; None: a change for all of them.

        Bytes that are here count in the `memory`.
        """
        self.span = span
        self.end = span.start
        """The place in the content of the next byte for the receiver."""
        self._memory = memory
        self._tell = tell
        self.reached = [reach(stripe, span.start) for stripe in range(STRIPES)]
        """How many bytes of each stripe have come, in all."""
        self._told = list(self.reached)
        self._chunks: list[deque[memoryview]] = [deque() for _ in range(STRIPES)]
        self._held = 0
        self._more = asyncio.Event()
        self._rooms = [asyncio.Event() for _ in range(STRIPES)]
        self.failure: SourceBroken | None = None
        """Why no more will come."""

    def left(self, stripe: int) -> int:
        """How many bytes of the stripe have not come yet."""
        return reach(stripe, self.span.stop) - self.reached[stripe]

    @property
    def wanted(self) -> int:
        """The stripe of the next byte for the receiver."""
        return stripe_of(self.end)

    # From the sources

    async def put(self, stripe: int, data: bytes | memoryview) -> None:
        """Add the next bytes of the stripe. Returns when there is room for more."""
        chunk = memoryview(data if isinstance(data, bytes) else bytes(data))
        if len(chunk) > self.left(stripe):
            raise SourceBroken(f"a source gave more of stripe {stripe} than there is")
        if not chunk:  # to the receiver, it would be the end
            return
        self._chunks[stripe].append(chunk)
        self._held += len(chunk)
        self._memory.take(len(chunk))
        self.reached[stripe] += len(chunk)
        if stripe == self.wanted:
            self._more.set()
        self._tell_of(stripe)
        while self.left(stripe) and not self.has_room(stripe):
            await self._wait_room(stripe)

    async def _wait_room(self, stripe: int) -> None:
        """Return when the receiver has taken some of the stripe, or the memory has room, if that is what is missing.

        No other change gives it room: what is taken of one stripe wakes no source of another one.
        """
        room = self._rooms[stripe]
        room.clear()
        with nullcontext() if self._ahead(stripe) >= AHEAD_BYTES else self._memory.telling(room):
            await room.wait()

    def _tell_of(self, stripe: int) -> None:
        """Followers are told of whole pieces, as of all that flows in, and are sent each in one step."""
        reached = self.reached[stripe]
        told = reached - reached % PIECE_BYTES if self.left(stripe) else reached
        if told > self._told[stripe]:
            self._told[stripe] = told
            self._tell(stripe)

    def has_room(self, stripe: int) -> bool:
        """Whether more of the stripe may come: it is not far ahead, or the receiver waits for it."""
        ahead = self._ahead(stripe)
        return ahead < PIECE_BYTES or (ahead < AHEAD_BYTES and not self._memory.is_full)

    def _ahead(self, stripe: int) -> int:
        """How many bytes of the stripe are here that the receiver has not taken."""
        return self.reached[stripe] - reach(stripe, self.end)

    def waits_for(self, stripe: int) -> bool:
        """Whether this stripe holds up others: at least three of them cannot come any further before it does."""
        others = [other for other in range(STRIPES) if not (self.left(other) and self.has_room(other))]
        return bool(self.left(stripe)) and self.has_room(stripe) and len(others) >= _MANY

    # For the receiver

    def fail(self, failure: SourceBroken) -> None:
        """No more will come; that is no failure when all has."""
        if any(map(self.left, range(STRIPES))):
            self.failure = failure
        self._more.set()
        self._tell(None)

    async def take(self) -> bytes | memoryview:
        """The next bytes of the content, as soon as there are some; none at the end.

        The receiver puts them into the same memory. Raises SourceBroken when there will be none.
        """
        while self.end < self.span.stop:
            stripe = self.wanted
            if self._chunks[stripe]:
                return self._cut(stripe, self._together(stripe))
            if self.failure is not None:
                raise self.failure
            self._more.clear()
            await self._more.wait()
        return b""

    def _together(self, stripe: int) -> int:
        """How many bytes of the content from here on are of this stripe."""
        return place(stripe, reach(stripe, self.end), self.span.stop).length

    def _cut(self, stripe: int, most: int) -> bytes | memoryview:
        chunks = self._chunks[stripe]
        chunk = chunks.popleft()
        if len(chunk) > most:
            chunks.appendleft(chunk[most:])
            chunk = chunk[:most]
        self.end += len(chunk)
        self._held -= len(chunk)
        self._memory.hand_on(len(chunk))
        self._rooms[stripe].set()
        whole = chunk.obj
        return whole if isinstance(whole, bytes) and len(whole) == len(chunk) else chunk

    # For followers

    def told(self, stripe: int) -> int:
        """How many bytes of the stripe followers may have."""
        return self._told[stripe]

    @property
    def has_told(self) -> bool:
        """Whether followers may have bytes that the receiver has not taken."""
        return any(told > reach(stripe, self.end) for stripe, told in enumerate(self._told))

    def after(self, stripe: int, position: int) -> memoryview:
        """The bytes from that position to the end of its piece; fewer when not all are here, or may be had."""
        start = self.reached[stripe] - sum(map(len, self._chunks[stripe]))
        stop = min(self._told[stripe], position - position % PIECE_BYTES + PIECE_BYTES)
        if not start <= position < stop:
            return memoryview(b"")
        return together(self._chunks[stripe], position - start, stop - start)

    def close(self) -> None:
        """Release all bytes."""
        self._memory.give_back(self._held)
        self._held = 0
        for chunks in self._chunks:
            chunks.clear()
        self._tell(None)


def together(chunks: Iterable[bytes | memoryview], start: int, stop: int) -> memoryview:
    """These of the bytes that the chunks have one after the other: one write of them costs less than several."""
    found = []
    for chunk in chunks:
        if start < len(chunk) and stop > 0:
            found.append(memoryview(chunk)[max(start, 0) : stop])
        start, stop = start - len(chunk), stop - len(chunk)
        if stop <= 0:
            break
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


class StripeSink(Sink):
    """The end of a source of one stripe."""

    def __init__(self, board: StripeBoard, stripe: int) -> None:
        self.sent = 0
        self._board = board
        self._stripe = stripe

    async def write(self, data: bytes | memoryview) -> None:
        self.sent += len(data)
        await self._board.put(self._stripe, data)
