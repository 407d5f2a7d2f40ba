"""What sources gave lately."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.transfer.monitoring.thresholds import RATE_REMEMBERED_SECONDS, RATES_REMEMBERED, SLOWER

if TYPE_CHECKING:
    from collections.abc import Hashable


class RecentRates:
    """What sources gave lately, in bytes a second."""

    def __init__(self) -> None:
        self._rates: dict[Hashable, tuple[float, float]] = {}

    def note(self, source: Hashable, *, rate: float) -> None:
        """It gave that much."""
        self._rates.pop(source, None)
        if len(self._rates) >= RATES_REMEMBERED:
            del self._rates[next(iter(self._rates))]
        self._rates[source] = (rate, clock.now())

    def of(self, source: Hashable) -> float | None:
        """What it gave; None when that is not known."""
        rate, at = self._rates.get(source, (0.0, 0.0))
        return rate if rate and at >= clock.now() - RATE_REMEMBERED_SECONDS else None

    def is_slow(self, source: Hashable) -> bool:
        """Whether it gave much less than others."""
        rate = self.of(source)
        return rate is not None and rate * SLOWER < self.typical_of_others(source)

    def typical_of_others(self, source: Hashable) -> float:
        """What others gave, the median (of two, the higher); 0 when nothing is known."""
        known_since = clock.now() - RATE_REMEMBERED_SECONDS
        rates = sorted(rate for other, (rate, at) in self._rates.items() if other != source and at >= known_since)
        return rates[len(rates) // 2] if rates else 0.0
