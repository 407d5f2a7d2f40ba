"""A bound on how long something may take, whose clock can be stopped from deep inside.

For a search that must be quick, except while it knows of something that is worth waiting for.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from registryd.aio import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class _Bound:
    """A timeout and how many have stopped its clock."""

    def __init__(self, timeout: asyncio.Timeout, outer: _Bound | None) -> None:
        self._timeout: asyncio.Timeout | None = timeout
        self._outer = outer
        self._stops = 0
        self._left = 0.0

    def stop(self) -> None:
        self._stops += 1
        timeout = self._timeout
        if self._stops == 1 and timeout is not None and not timeout.expired() and (when := timeout.when()) is not None:
            self._left = when - clock.now()
            timeout.reschedule(None)
        if self._outer is not None:
            self._outer.stop()

    def go_on(self) -> None:
        self._stops -= 1
        timeout = self._timeout
        if self._stops == 0 and timeout is not None and not timeout.expired():
            timeout.reschedule(clock.now() + self._left)
        if self._outer is not None:
            self._outer.go_on()

    def end(self) -> None:
        self._timeout = None


_current: Final[ContextVar[_Bound | None]] = ContextVar("bound", default=None)


@asynccontextmanager
async def bounded(seconds: float) -> AsyncIterator[None]:
    """Like asyncio.timeout: raises TimeoutError after so many seconds, those off the clock not counted."""
    async with asyncio.timeout(seconds) as timeout:
        bound = _Bound(timeout, _current.get())
        token = _current.set(bound)
        try:
            yield
        finally:
            _current.reset(token)
            bound.end()


@contextmanager
def off_the_clock() -> Iterator[None]:
    """Work in this block does not count against the bounds around it. The block needs a bound of its own."""
    bound = _current.get()
    if bound is None:
        yield
        return
    bound.stop()
    try:
        yield
    finally:
        bound.go_on()
