"""Leaving a source that is alive but much slower than others, when one of those has the content too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.transfer.monitoring.body import Check
from registryd.transfer.monitoring.thresholds import COMPARISON_SECONDS, MUCH_SLOWER, TELLING_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from registryd.transfer.monitoring.meter import Reading
    from registryd.transfer.monitoring.rates import RecentRates


class ComparisonCheck(Check):
    """A Check: the source is silent or much slower than other sources, and `has_other` says yes.

    `has_other` says whether another node has the content. The check asks it at most once a second, when the source is
    too slow. In the end the check notes the rate of the source, whether the body is whole or not.
    """

    def __init__(self, source: Hashable, rates: RecentRates, has_other: Callable[[], Awaitable[bool]]) -> None:
        self._source = source
        self._rates = rates
        self._has_other = has_other

    def begin(self, begun: Reading) -> None:
        self._begun = self._before = begun

    def pause(self) -> float:
        return COMPARISON_SECONDS

    async def look(self, now: Reading) -> str | None:
        before, self._before = self._before, now
        if self._is_much_slower(before, now) and await self._has_other():
            return "others are much quicker, and somebody has it"
        return None

    def end(self, ended: Reading) -> None:
        begun = self._begun
        if ended.sent - begun.sent >= TELLING_BYTES and ended.is_starved(begun):
            self._rates.note(self._source, rate=ended.rate_since(begun))

    def _is_much_slower(self, before: Reading, now: Reading) -> bool:
        if not now.is_starved(before):
            return False
        typical = self._rates.typical_of_others(self._source)
        return now.sent == before.sent or now.rate_since(before) * MUCH_SLOWER < typical
