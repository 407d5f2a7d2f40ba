"""Several attempts at the same thing: results as they arrive, and the first success.

Attempts start in waves: the next wave when all of the latest have ended, or when `patience` has passed. One wave of all
attempts starts them at once; waves of one are the staggered start of happy eyeballs (RFC 8305).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from registryd.aio.scope import run_to_end

if TYPE_CHECKING:
    from collections.abc import Awaitable


T = TypeVar("T")

Attempt = Callable[[], Coroutine[Any, Any, T]]
"""Started, at most once, by calling it: what is never started needs no closing."""

Waves = Iterable[Sequence[Attempt[T]]] | AsyncGenerator[Sequence[Attempt[T]], None]
"""An iterable when it is known who takes part; a generator, which the race closes, when that is found out meanwhile."""


class AllFailed(Exception):
    """No attempt succeeded; `reasons` has every failure in the order in which they came, none if none was made."""

    def __init__(self, reasons: Sequence[Exception]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons)) or "there was nothing to try"


def at_once(attempts: Iterable[Attempt[T]]) -> Waves[T]:
    """All attempts in one wave."""
    return (tuple(attempts),)


async def one_by_one(attempts: AsyncGenerator[Attempt[T], None]) -> AsyncGenerator[Sequence[Attempt[T]], None]:
    """Each attempt is a wave, taken when it is its turn; closes what they are taken from."""
    async with aclosing(attempts):
        async for attempt in attempts:
            yield (attempt,)


async def arrivals(
    waves: Waves[T],
    *,
    expected: type[Exception] | tuple[type[Exception], ...],
    patience: float = 0.0,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield the results of attempts as they arrive; closing it ends everything that was started.

    An `expected` exception means that this attempt failed; any other one ends the run and is raised. Raises AllFailed
    at the end when no attempt succeeded. Waves start only while the next result is being waited for.

    On every way out, what still runs is cancelled and awaited, results that were not yielded are given to `discard`,
    and the waves are closed.
    """
    race = _Race(waves, patience)
    failures: list[Exception] = []
    succeeded = False
    try:
        while task := await race.next_finished():
            # Asked for and not raised here: its traceback would hold this frame, which holds it, and what failed,
            # such as a connection, would stay until the garbage collector comes by.
            failure = task.exception()
            if isinstance(failure, expected):
                failures.append(failure)
            else:
                succeeded = True
                yield task.result()
    finally:
        race.stop_timer()
        if not race.is_over:
            await run_to_end(_end(race, discard), name="end of a race")
    if not succeeded:
        raise AllFailed(failures)


async def first_success(
    waves: Waves[T],
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
        # Cancelled while the losers were ending: no caller is left to take the winner.
        await run_to_end(_discard_all([winner], discard), name="discard winner")
        raise
    return winner


async def _end(race: _Race[T], discard: Callable[[T], Awaitable[object]] | None) -> None:
    try:
        await _discard_all(await race.stop(), discard)
    finally:
        await race.aclose()


async def _discard_all(results: Sequence[T], discard: Callable[[T], Awaitable[object]] | None) -> None:
    if discard is not None:
        for result in results:
            await discard(result)


# ---------------------------------------------------------------- the tasks of one race


class _Race(Generic[T]):
    """What is running, what has finished and was not taken yet, and the wave to come."""

    def __init__(self, waves: Waves[T], patience: float) -> None:
        self._waves = waves if isinstance(waves, AsyncGenerator) else iter(waves)
        self._patience = patience
        self._running: list[asyncio.Task[T]] = []
        self._finished: deque[asyncio.Task[T]] = deque()
        self._latest: frozenset[asyncio.Task[T]] = frozenset()
        self._pull: asyncio.Task[Sequence[Attempt[T]] | None] | None = None
        self._is_exhausted = False
        self._timer: asyncio.TimerHandle | None = None
        # Set when there is something new to look at: an end of an attempt, of the patience, or a wave that has come.
        self._news = asyncio.Event()

    async def next_finished(self) -> asyncio.Task[T] | None:
        """Wait for the next attempt that ends, starting waves when they are due; None when all are through."""
        while not self._finished:
            self._news.clear()
            self._start_pulled_wave()
            while self._is_next_wave_due:
                self._take_next_wave()
            if not self._running and not self._pull:
                return None
            await self._news.wait()
        return self._finished.popleft()

    @property
    def is_over(self) -> bool:
        """Whether the race is over: no attempt, no result that was not taken, no waves to close."""
        is_closed = self._is_exhausted or not isinstance(self._waves, AsyncGenerator)
        return is_closed and not (self._running or self._finished or self._pull)

    @property
    def _is_next_wave_due(self) -> bool:
        if self._is_exhausted or self._pull:
            return False
        return self._timer is None or self._latest.isdisjoint(self._running)

    def _take_next_wave(self) -> None:
        if isinstance(self._waves, AsyncGenerator):
            self._pull = asyncio.create_task(_next_or_none(self._waves), name="next wave")
            self._pull.add_done_callback(self._wake)
        else:
            self._start(next(self._waves, None))

    def _start_pulled_wave(self) -> None:
        if self._pull is None or not self._pull.done():
            return
        pull, self._pull = self._pull, None
        self._is_exhausted = True  # a generator that raises has ended
        self._start(pull.result())

    def _start(self, wave: Sequence[Attempt[T]] | None) -> None:
        self.stop_timer()
        self._is_exhausted = wave is None
        if wave is None:
            return
        started = [asyncio.create_task(attempt(), name="attempt") for attempt in wave]
        for task in started:
            task.add_done_callback(self._note_end)
        self._running += started
        self._latest = frozenset(started)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._end_patience)

    def _note_end(self, task: asyncio.Task[T]) -> None:
        self._running.remove(task)
        self._finished.append(task)
        self._news.set()

    def _end_patience(self) -> None:
        self._timer = None
        self._news.set()

    def _wake(self, _: object) -> None:
        self._news.set()

    def stop_timer(self) -> None:
        """Let nothing happen by itself any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def stop(self) -> list[T]:
        """Cancel and await the running attempts; returns the results that were not taken."""
        ending = [*self._running, *([self._pull] if self._pull else [])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        if self._pull and not self._pull.cancelled():
            self._pull.exception()  # looked at, so that asyncio does not complain that nobody did
        # A loser may have succeeded in the same iteration of the loop, or in spite of being cancelled.
        return [task.result() for task in self._finished if not task.cancelled() and task.exception() is None]

    async def aclose(self) -> None:
        """Close the waves, after `stop`."""
        if isinstance(self._waves, AsyncGenerator):
            await self._waves.aclose()


async def _next_or_none(waves: AsyncGenerator[T, None]) -> T | None:
    return await anext(waves, None)
