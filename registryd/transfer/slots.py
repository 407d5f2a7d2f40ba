"""Memory for what several sources give of a body before its turn comes, in slots of one size."""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# A request of a piece costs a round trip and some 2 ms of the source's processor: of 4 MiB at 1 Gbit/s, a fifteenth.
SLOT_BYTES: Final = 4 << 20
# 32 MiB: for six sources, and for what they have given while an earlier piece was late.
_MOST_OF_A_BODY: Final = 8
# Fewer slots gain nothing: one slot is being written, and each of two sources needs one.
_LEAST_OF_A_BODY: Final = 3


class Slots:
    """The slots of one body; each is made when it is first needed, and used again."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._made: list[mmap.mmap] = []
        self._free: list[memoryview] = []

    def take(self) -> memoryview | None:
        """Room for a piece; None when all are in use."""
        if self._free:
            return self._free.pop()
        if len(self._made) >= self.count:
            return None
        made = mmap.mmap(-1, SLOT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._made.append(made)
        return memoryview(made)

    def give_back(self, slot: memoryview) -> None:
        """Return a slot whose bytes are no longer needed."""
        self._free.append(slot)

    def discard(self) -> None:
        """Give the memory back to the system, with whatever is in it; nobody is to use the slots any more.

        Not when the last reference goes: the error that ended a body may keep its frames, and these the slots, until
        the garbage collector comes by.
        """
        self._free.clear()
        for made in self._made:
            made.madvise(mmap.MADV_DONTNEED)
        self._made.clear()


class SlotMemory:
    """The memory of all bodies of an agent together: at most `most` bytes. 0: no body is assembled."""

    def __init__(self, most: int = 0) -> None:
        self._left = most // SLOT_BYTES

    @property
    def is_enough(self) -> bool:
        """Whether another body would get slots now."""
        return self._left >= _LEAST_OF_A_BODY

    @contextmanager
    def reserved(self) -> Iterator[Slots | None]:
        """Slots for one body, for the length of the block; None when too few are left."""
        if not self.is_enough:
            yield None
            return
        count = min(self._left, _MOST_OF_A_BODY)
        self._left -= count
        slots = Slots(count)
        try:
            yield slots
        finally:
            self._left += count
            slots.discard()
