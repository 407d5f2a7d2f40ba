"""Places that many want and one is not to have all of."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

K = TypeVar("K", bound="Hashable")


class NoPlace(Exception):
    """All places are taken, or all places that this caller may have."""


class Shares(Generic[K]):
    """`most` places, `most_of_one` of them for each; without a place a caller waits `patience` seconds, in order."""

    def __init__(self, *, most: int, most_of_one: int, patience: float = 0.0) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._patience = patience
        self._taken: Counter[K] = Counter()
        self._waiting: deque[tuple[K, asyncio.Future[None]]] = deque()

    def __len__(self) -> int:
        return self._taken.total()

    @asynccontextmanager
    async def place(self, who: K) -> AsyncIterator[None]:
        """One place for the length of the block. Raises NoPlace."""
        if self._has_place(who):
            self._taken[who] += 1
        else:
            await self._wait(who)
        try:
            yield
        finally:
            self._leave(who)

    def _has_place(self, who: K) -> bool:
        return self._taken.total() < self._most and self._taken[who] < self._most_of_one

    async def _wait(self, who: K) -> None:
        """Return with a place."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((who, turn))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(who)  # it was given in the same moment
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove((who, turn))
        if not turn.done() or turn.cancelled():
            raise NoPlace(f"{self._taken[who]} of {len(self)} places are taken by the same")

    def _leave(self, who: K) -> None:
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]
        for waiting, turn in self._waiting:
            if not turn.done() and self._has_place(waiting):
                self._taken[waiting] += 1
                turn.set_result(None)
                return
