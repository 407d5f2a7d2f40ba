"""The time in which this process stood still: it was stopped, or got no processor, or its machine was paused.

Whoever waits for another node counts such time as that node's silence, though its bytes have been here all the while.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

# A clock that ticks so often tells a standstill to that precision.
_TICK_SECONDS: Final = 0.25
# An event loop that has too much to do is late as well, by less. That counts as waiting: else a busy node would never
# find out that a source is silent.
LEAST_SECONDS: Final = 2.0


class Standstill:
    """The seconds for which an event loop has done nothing while a timer was due. Counts only within `watched`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self._call_at = loop.call_at
        self._watchers = 0
        self._seconds = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """All of them so far, the present one included: after a standstill, all timers are due at once."""
        return self._seconds + self._late

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count for the length of the block; all blocks of an event loop share one timer."""
        self._watchers += 1
        if self._timer is None:
            self._set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and self._timer is not None:
                self._seconds += self._late
                self._timer.cancel()
                self._timer = None

    @property
    def _late(self) -> float:
        late = self._time() - self._due if self._timer is not None else 0.0
        return late if late >= LEAST_SECONDS else 0.0

    def _set(self) -> None:
        self._due = self._time() + _TICK_SECONDS
        self._timer = self._call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._seconds += self._late
        self._set()


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Standstill] = WeakKeyDictionary()


def own_standstill() -> Standstill:
    """That of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Standstill(loop)
    return found
