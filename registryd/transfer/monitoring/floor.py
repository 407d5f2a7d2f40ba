"""Whether a source that has everything gives less than any link between nodes does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.transfer.monitoring.body import Check
from registryd.transfer.monitoring.giving import Giving
from registryd.transfer.monitoring.thresholds import (
    FLOOR_BYTES_PER_SECOND,
    FLOOR_WINDOW_SECONDS,
    GONE_LOOK_SECONDS,
    GROWING_FLOOR_BYTES_PER_SECOND,
    GROWING_FLOOR_WINDOW_SECONDS,
    MOST_WINDOWS_BESIDE_OTHERS,
)
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from registryd.transfer.monitoring.meter import Reading


@dataclass(frozen=True, slots=True)
class FloorRate:
    """The least that a source must give: bytes a second, checked at the end of each window of so many seconds."""

    bytes_per_second: float
    window_seconds: float

    def __post_init__(self) -> None:
        if self.bytes_per_second <= 0 or self.window_seconds <= 0:
            raise ValueError(f"{self} is no floor")


DEFAULT_FLOOR: Final = FloorRate(bytes_per_second=FLOOR_BYTES_PER_SECOND, window_seconds=FLOOR_WINDOW_SECONDS)
"""Of a source that has the whole content."""
GROWING_FLOOR: Final = FloorRate(
    bytes_per_second=GROWING_FLOOR_BYTES_PER_SECOND, window_seconds=GROWING_FLOOR_WINDOW_SECONDS
)
"""Of a source that is still receiving."""
STRIPE_FLOOR: Final = FloorRate(
    bytes_per_second=GROWING_FLOOR_BYTES_PER_SECOND / STRIPES, window_seconds=GROWING_FLOOR_WINDOW_SECONDS
)
"""The same of a source of one stripe."""


class Excuse(Protocol):
    """Says when nothing came through no fault of the source (`registryd.cluster.health.silence.StuckCheck`)."""

    @property
    def excused(self) -> float:
        """The seconds so far in which that was so."""

    @property
    def is_undecided(self) -> bool:
        """Whether nothing comes now, and whose fault that is is not known yet."""


class FloorCheck(Check):
    """A Check: the source gave less than the floor in a window, in at least half of which the receiver waited for it.

    A source that is still receiving cannot be quicker than its own source: its floor only tells it from a source that
    is dead. `registryd.transfer.monitoring.doubt` compares it with other nodes.
    """

    def __init__(
        self, floor: FloorRate = DEFAULT_FLOOR, excuse: Excuse | None = None, *, giving: Giving | None = None
    ) -> None:
        """What is excused does not count. A window does not end while that is undecided.

        Where the source is `giving` as much as the floor to each of its bodies on average, none is too slow, for some
        windows in a row.
        """
        self._little_in_a_row = 0
        self._floor = floor
        self._excuse = excuse
        self._giving = giving or Giving()
        self._is_undecided = False

    def begin(self, begun: Reading) -> None:
        self._before, self._excused_before, self._given_before = begun, self._excused, self._giving.sent

    def pause(self) -> float:
        return GONE_LOOK_SECONDS if self._is_undecided else self._floor.window_seconds

    async def look(self, now: Reading) -> str | None:
        self._is_undecided = self._excuse is not None and self._excuse.is_undecided
        if self._is_undecided:
            return None
        floor, before, self._before = self._floor, self._before, now
        excused_before, self._excused_before = self._excused_before, self._excused
        given_before, self._given_before = self._given_before, self._giving.sent
        given = self._given_before - given_before
        starved = now.starved_since(before) - (self._excused_before - excused_before)
        if starved < (now.at - before.at) / 2:
            return None
        least = floor.bytes_per_second * starved
        self._little_in_a_row = self._little_in_a_row + 1 if now.sent - before.sent < least else 0
        gives_others = given >= least * max(1, self._giving.bodies)
        if self._little_in_a_row > (MOST_WINDOWS_BESIDE_OTHERS if gives_others else 0):
            return f"slower than {floor.bytes_per_second:g} bytes/s for {floor.window_seconds:g} s"
        return None

    @property
    def _excused(self) -> float:
        return self._excuse.excused if self._excuse is not None else 0.0
