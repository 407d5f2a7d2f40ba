"""Several attempts at the same thing: results as they arrive, and the first success.

Attempts start in waves: the next wave when all of the latest have ended, or when `patience` has passed. One wave of
all asks everyone at once; waves of one are the staggered start of happy eyeballs (RFC 8305).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from registryd.aio.endings import run_to_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence

T = TypeVar("T")

Attempt = Callable[[], Coroutine[Any, Any, T]]
"""Started, at most once, by calling it: what is never started needs no closing."""


class AllFailed(Exception):
    """No attempt succeeded; `reasons` has every failure in the order in which they came, none if none was made."""

    def __init__(self, reasons: Sequence[Exception]) -> None:
        super().__init__("; ".join(str(reason) for reason in reasons) or "there was nothing to try")
        self.reasons = tuple(reasons)


async def at_once(attempts: Iterable[Attempt[T]]) -> AsyncGenerator[Sequence[Attempt[T]], None]:
    """All attempts in one wave."""
    yield tuple(attempts)


async def one_by_one(attempts: AsyncGenerator[Attempt[T], None]) -> AsyncGenerator[Sequence[Attempt[T]], None]:
    """Each attempt is a wave, taken when it is its turn; closes what they are taken from."""
    async with aclosing(attempts):
        async for attempt in attempts:
            yield (attempt,)


async def arrivals(
    waves: AsyncGenerator[Sequence[Attempt[T]], None],
    *,
    expected: type[Exception] | tuple[type[Exception], ...],
    patience: float = 0.0,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield the results of attempts as they arrive; closing it ends everything that was started.

    An `expected` exception means that this attempt failed; any other one ends the run and is raised. Raises AllFailed
    at the end when no attempt succeeded. Time only passes for waves while the next result is being waited for.

    On every way out, what still runs is cancelled and awaited, results that were not yielded are given to `discard`,
    and the waves are closed.
    """
    race = _Race(waves, patience)
    failures: list[Exception] = []
    succeeded = False
    try:
        while task := await race.next_finished():
            try:
                result = task.result()
            except expected as error:
                failures.append(error)
                continue
            succeeded = True
            yield result
    finally:
        await run_to_end(race.end(discard), name="end of a race")
    if not succeeded:
        raise AllFailed(failures)


async def first_success(
    waves: AsyncGenerator[Sequence[Attempt[T]], None],
    *,
    expected: type[Exception] | tuple[type[Exception], ...],
    patience: float = 0.0,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Return the first result of `arrivals`, after everything else has ended; raises as it does."""
    results = arrivals(waves, expected=expected, patience=patience, discard=discard)
    winner = await anext(results)
    try:
        await results.aclose()
    except BaseException:
        # Cancelled while the losers were ending: nobody is there to take the winner.
        await run_to_end(_discard_all([winner], discard), name="discard winner")
        raise
    return winner


class _Race(Generic[T]):
    """The tasks of a run: what is running, what has finished and was not taken yet, and the wave to come."""

    def __init__(self, waves: AsyncGenerator[Sequence[Attempt[T]], None], patience: float) -> None:
        self._waves = waves
        self._patience = patience
        self._pull: asyncio.Task[Sequence[Attempt[T]] | None] | None = None
        self._is_exhausted = False
        self._tasks: list[asyncio.Task[T]] = []
        self._latest: list[asyncio.Task[T]] = []
        self._next_wave_at = 0.0

    async def next_finished(self) -> asyncio.Task[T] | None:
        """Wait for the next attempt that ends, starting waves when they are due; None when all are through."""
        while True:
            self._start_pulled_wave()
            for task in self._tasks:
                if task.done():
                    self._tasks.remove(task)
                    return task
            timeout = self._pull_when_due()
            waited = [*self._tasks, *([self._pull] if self._pull else [])]
            if not waited:
                return None
            finished, _ = await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not finished:
                self._next_wave_at = -math.inf  # what is left of the time-out is rounding

    def _pull_when_due(self) -> float | None:
        """Begin to take the next wave if it is time; otherwise how many seconds are left until it is."""
        if self._is_exhausted or self._pull:
            return None
        left = self._next_wave_at - asyncio.get_running_loop().time()
        if left > 0 and any(not task.done() for task in self._latest):
            return left
        self._pull = asyncio.create_task(_next_or_none(self._waves), name="next wave")
        return None

    def _start_pulled_wave(self) -> None:
        if self._pull is None or not self._pull.done():
            return
        wave, self._pull = self._pull.result(), None
        if wave is None:
            self._is_exhausted = True
            return
        self._latest = [asyncio.create_task(attempt(), name="attempt") for attempt in wave]
        self._tasks += self._latest
        self._next_wave_at = asyncio.get_running_loop().time() + self._patience

    async def end(self, discard: Callable[[T], Awaitable[object]] | None) -> None:
        """Cancel and await what runs, discard what nobody took, close the waves."""
        pulls = [self._pull] if self._pull else []
        ending = [*self._tasks, *pulls]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        # Looked at, even if only to keep asyncio from complaining that nobody did. A loser may have succeeded in the
        # same iteration of the loop, or in spite of being cancelled.
        succeeded = [task for task in ending if not task.cancelled() and task.exception() is None]
        await _discard_all([task.result() for task in self._tasks if task in succeeded], discard)
        await self._waves.aclose()


async def _next_or_none(waves: AsyncGenerator[T, None]) -> T | None:
    return await anext(waves, None)


async def _discard_all(results: Sequence[T], discard: Callable[[T], Awaitable[object]] | None) -> None:
    if discard is not None:
        for result in results:
            await discard(result)
