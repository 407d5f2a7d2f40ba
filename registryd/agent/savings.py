"""The bytes saved in each hour of the last day, for the page and for `registryd status`.

Both numbers are read off the agent's metrics (`registryd.agent.traffic`). Members report them to each other
(`registryd.cluster.contract.view`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_HOURS: Final = 24
_HOUR_SECONDS: Final = 3600.0
# How late the counters may be read: what comes within a minute of an hour's end may count as the next hour's.
_LOOK_SECONDS: Final = 60.0


@dataclass(slots=True)
class Saved:
    """Bytes that containerd got without an origin, and bytes that containerd got elsewhere."""

    spared: int = 0
    elsewhere: int = 0


class Savings:
    """Of the latest 24 hours in which the agent ran."""

    def __init__(self, read: Callable[[], tuple[int, int]], clock: Callable[[], float]) -> None:
        """`read` gives both counters, `clock` seconds that only grow."""
        self._read = read
        self._clock = clock
        self._before = read()
        self._began = clock()
        self._hours: deque[Saved] = deque([Saved()], maxlen=_HOURS)

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Note what has come since the last time."""
        now = self._read()
        current = self._hours[0]
        current.spared += now[0] - self._before[0]
        current.elsewhere += now[1] - self._before[1]
        self._before = now
        while self._clock() - self._began >= _HOUR_SECONDS:
            self._began += _HOUR_SECONDS
            self._hours.appendleft(Saved())

    def hours(self) -> list[Saved]:
        """The present one first, as long as there were any."""
        self.look()
        return [Saved(each.spared, each.elsewhere) for each in self._hours]
