"""An event loop whose time passes as soon as nobody has anything to do.

A wave of thousands of nodes is some hundred million callbacks, so the loop does without what only descriptors and
threads need.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from contextvars import copy_context
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

T = TypeVar("T")

# Timers are due together that differ by no more than asyncio's clock does.
_RESOLUTION: Final = 1e-9
# When so many timers are cancelled, and more than half of all, they are thrown away.
_LEAST_SWEPT: Final = 1000
# Objects that are made until Python looks for cycles. Its 700 would cost a tenth of the time, and find little.
_OBJECTS_BETWEEN_LOOKS: Final = 100_000


class _Call(asyncio.TimerHandle):
    """A callback that is due, or will be."""

    __slots__ = ()

    def __init__(
        self, loop: VirtualLoop, when: float, callback: Callable[..., object], args: Any, context: Context | None
    ) -> None:
        # Without super().__init__: it asks the loop for its debug mode each time.
        self._loop = loop
        self._when = when
        self._scheduled = False
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None


class VirtualLoop(asyncio.SelectorEventLoop):
    """Calls what is due in the order in which it was asked for, and then moves its clock to what is due next."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._ready: Any  # asyncio's own queue of what is due
        self._stopping: bool
        self._timers: list[tuple[float, int, _Call]] = []
        self._numbers = count()
        self._cancelled_timers = 0

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        call = _Call(self, 0.0, callback, args, context)
        self._ready.append(call)
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(self, when, callback, args, context)
        call._scheduled = True
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def _timer_handle_cancelled(self, handle: _Call) -> None:
        if not handle._scheduled:
            return
        self._cancelled_timers += 1
        if self._cancelled_timers > max(_LEAST_SWEPT, len(self._timers) // 2):
            self._timers = [timer for timer in self._timers if timer[2] is not handle and not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if not (ready or self._stopping):
            self._now = max(self._now, self._next_time())
        end = self._now + _RESOLUTION
        while timers and timers[0][0] < end:
            call = heapq.heappop(timers)[2]
            call._scheduled = False
            self._cancelled_timers -= call._cancelled
            ready.append(call)
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call._cancelled:
                call._run()

    def _next_time(self) -> float:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            raise RuntimeError("every task waits for another one")
        return timers[0][0]


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run in virtual time, which begins at 0."""
    loop = VirtualLoop()
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, *before[1:])
    try:
        return loop.run_until_complete(main)
    finally:
        gc.set_threshold(*before)
        loop.run_until_complete(_end_all())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
