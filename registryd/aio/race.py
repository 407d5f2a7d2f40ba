"""The tasks of one race, from the first wave to the last loser; `registryd.aio.racing` is how it is used."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Attempt = Callable[[], Coroutine[Any, Any, T]]
"""Started, at most once, by calling it: what is never started needs no closing."""

Waves = Iterable[Sequence[Attempt[T]]] | AsyncGenerator[Sequence[Attempt[T]], None]
"""An iterable when it is known who takes part; a generator, which the race closes, when that is found out meanwhile."""


class Race(Generic[T]):
    """The tasks of a run: what is running, what has finished and was not taken yet, and the wave to come."""

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
