"""asyncio's own event loop, whose clock stands still while its process does.

A process that was stopped, got no processor, or whose machine was paused finds all its timers due when it goes on:
every node that it waited for would count as silent, though what they sent has been here all the while. By this clock
no time has passed meanwhile, so nobody has to tell waiting from standing still.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# The loop looks at its clock so often at least, also when nothing is due.
_LOOK_SECONDS: Final = 0.5
# Between two looks. An event loop that has too much to do is late as well, by less. That time counts: else a busy node
# would never find out that a source is silent.
STANDSTILL_SECONDS: Final = 2.0
# The share of the time by which the clock is too quick until it is right again. zeroconf sets timers by the system's
# clock, and they are late by as much as this one is behind.
_CATCH_UP: Final = 0.1
# zeroconf asks again for a service after three quarters of the 75 minutes for which it is known. After longer pauses,
# connections have ended anyway.
_MOST_BEHIND_SECONDS: Final = 600.0


class SteadyLoop(asyncio.SelectorEventLoop):
    """For one thread: its clock is read by the callbacks that it runs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts standstills as well, in seconds."""
        self._clock = clock
        self._looked_at = clock()
        self._behind = 0.0
        super().__init__(_OftenLooking())

    def time(self) -> float:
        """Seconds of a clock that never goes back, and that two seconds or more without a look at it do not move.

        Unless it is ten minutes behind already.
        """
        now = self._clock()
        passed, self._looked_at = now - self._looked_at, now
        if passed >= STANDSTILL_SECONDS:
            self._behind = min(self._behind + passed, _MOST_BEHIND_SECONDS)
        elif self._behind:
            self._behind = max(0.0, self._behind - passed * _CATCH_UP)
        return now - self._behind


class _OftenLooking(selectors.DefaultSelector):
    """Returns early, so that the loop looks at its clock; and with what has come, however late it is.

    A wait in epoll that a stop of the process outlasts returns nothing, whatever is there to read (PEP 475).
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        seconds = _LOOK_SECONDS if timeout is None else min(timeout, _LOOK_SECONDS)
        found = super().select(seconds)
        return super().select(0) if seconds and not found else found
