"""The latest bytes of content that goes past the store, in memory, for all readers at about the same place."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(slots=True, eq=False)
class Reader:
    """A follower, and the byte that it needs next. `is_left_behind`: this byte is no longer in memory."""

    position: int = 0
    is_left_behind: bool = False


class WindowMemory:
    """So many bytes for all windows together; each may have an equal share, and one chunk in any case."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._wanted = asyncio.Event()
        self._freed = asyncio.Event()
        self.held = 0
        self.windows = 0

    def fits(self, held: int, count: int) -> bool:
        """Whether a window that holds some bytes may take so many more."""
        return not held or (held + count <= self.total // self.windows and self.held + count <= self.total)

    async def take(self, count: int) -> None:
        """Return when there is room for so many bytes, which are held then."""
        while self.held + count > self.total:
            self.want()
            await self._freed.wait()
        self.held += count

    def free(self, count: int) -> None:
        """So many bytes are held no more."""
        self.held -= count
        self._freed.set()
        self._freed = asyncio.Event()

    def want(self) -> None:
        """A window could do with more."""
        self._wanted.set()
        self._wanted = asyncio.Event()

    async def wait_wanted(self) -> None:
        """Return when a reader wants more bytes than there are."""
        await self._wanted.wait()


class Window:
    """Bytes from `start` up to, not including, `end`. The caller that makes the window closes it."""

    def __init__(self, start: int, memory: WindowMemory, readers: Collection[Reader], *, patience: float) -> None:
        """The readers may change meanwhile; `moved` is called when they do, and when one of them gets on.

        Of so many seconds of `patience`, those who are slowest may keep others waiting for half.
        """
        self.start = self.end = start
        self._memory = memory
        self._readers = readers
        self._patience = patience
        self._starts: list[int] = []
        self._chunks: list[bytes] = []
        self._reserved = 0
        self._moved = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._judged_at, self._waited = self._now(), 0.0
        memory.windows += 1

    async def reserve(self, count: int) -> bool:
        """Take room for the next so many bytes, which wait for no reader; False when there is none, for `patience`."""
        if count > self._memory.total:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._memory.take(count)
                self._reserved = count
                return True
        return False

    async def put(self, chunk: bytes) -> None:
        """Take the next bytes when there is room: when readers have moved on, or are left behind."""
        reserved = min(self._reserved, len(chunk))
        while not reserved and not self._memory.fits(self.end - self.start, len(chunk)):
            self._memory.want()
            if not self._drop_read():
                await self._wait_moved()
        self._starts.append(self.end)
        self._chunks.append(chunk)
        self.end += len(chunk)
        self._reserved -= reserved
        self._memory.held += len(chunk) - reserved

    def get(self, position: int) -> memoryview:
        """The bytes from this one on, or some of them; the byte must be here."""
        at = bisect_right(self._starts, position) - 1
        return memoryview(self._chunks[at])[position - self._starts[at] :]

    def moved(self) -> None:
        """A reader came, went, or got on."""
        self._moved.set()

    def close(self) -> None:
        """Forget the bytes; idempotent."""
        if self._memory.windows:
            self._drop(len(self._chunks))
            self._memory.free(self._reserved)
            self._reserved = 0
            self._memory.windows -= 1
            self._memory = WindowMemory(0)

    def _drop_read(self) -> bool:
        """Forget the bytes that all readers have read. Bytes without a reader stay: a reader may be about to come."""
        followers = [reader.position for reader in self._readers if not reader.is_left_behind]
        slowest = min(followers, default=self.start)
        count = len(self._chunks) if slowest >= self.end else max(0, bisect_right(self._starts, slowest) - 1)
        self._drop(count)
        return count > 0

    def _drop(self, count: int) -> None:
        dropped = sum(map(len, self._chunks[:count]))
        del self._starts[:count], self._chunks[:count]
        self.start += dropped
        self._memory.free(dropped)

    async def _wait_moved(self) -> None:
        """Wait for the readers of the bytes that are forgotten next. A slow reader without others sets the pace."""
        self._moved.clear()
        is_kept_waiting = any(reader.position >= self.end for reader in self._readers)
        began = self._now()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._moved.wait()
        if is_kept_waiting:
            self._waited += self._now() - began
        if self._now() - self._judged_at >= self._patience:
            if self._waited >= self._patience / 2:
                self._leave_behind()
            self._judged_at, self._waited = self._now(), 0.0

    def _leave_behind(self) -> None:
        """Leave those readers behind that are in the older half of the window."""
        for reader in self._readers:
            reader.is_left_behind |= 2 * reader.position <= self.start + self.end
