"""The rates of sources lately."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.aio.recent import Recent
from registryd.transfer.monitoring.thresholds import RATE_REMEMBERED_SECONDS, RATES_REMEMBERED, SLOWER

if TYPE_CHECKING:
    from collections.abc import Hashable


class RecentRates:
    """The rates of sources lately, in bytes a second."""

    def __init__(self) -> None:
        self._rates: Recent[Hashable, tuple[float, float]] = Recent(RATES_REMEMBERED)

    def note(self, source: Hashable, *, rate: float) -> None:
        """Note the rate of a source."""
        self._rates.put(source, (rate, clock.now()))

    def of(self, source: Hashable) -> float | None:
        """The rate of the source; None when it is not known."""
        rate, at = self._rates.get(source) or (0.0, 0.0)
        return rate if rate and at >= clock.now() - RATE_REMEMBERED_SECONDS else None

    def is_slow(self, source: Hashable) -> bool:
        """Whether the source gave much less than others."""
        rate = self.of(source)
        return rate is not None and rate * SLOWER < self.typical_of_others(source)

    def typical_of_others(self, source: Hashable) -> float:
        """The median rate of other sources (of two, the higher); 0 when no rate is known."""
        known_since = clock.now() - RATE_REMEMBERED_SECONDS
        rates = sorted(rate for other, (rate, at) in self._rates.items() if other != source and at >= known_since)
        return rates[len(rates) // 2] if rates else 0.0
