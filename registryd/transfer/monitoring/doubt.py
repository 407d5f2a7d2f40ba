"""Asking, now and then, whether a source that takes long is itself slow, or only its own source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.transfer.monitoring.body import Check
from registryd.transfer.monitoring.thresholds import (
    DOUBT_SECONDS,
    DOUBT_SHARE,
    LONGEST_DOUBT_SECONDS,
    WORTH_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.transfer.monitoring.meter import Reading

    IsSlow = Callable[[int, float], Awaitable[bool]]


class DoubtCheck(Check):
    """A Check of a body from byte `start` of its content: `is_slow` says whether the source holds the body up.

    The check asks `is_slow` when the receiver has been waiting for the source, and would have to wait for long. The
    arguments are the bytes that have arrived, from the content's beginning, and the rate since the look before the
    last, in bytes a second: a source that follows containerd's file grows in steps of a MiB.
    """

    def __init__(
        self, start: int, is_slow: IsSlow, *, first: float = DOUBT_SECONDS, is_slow_early: IsSlow | None = None
    ) -> None:
        """The first look is after so many seconds, and asks `is_slow_early` if that is given."""
        self._start = start
        self._is_slow = is_slow
        self._first = first
        self._next = is_slow_early or is_slow

    def begin(self, begun: Reading) -> None:
        self._begun = self._latest = self._before = begun

    def pause(self) -> float:
        lasted = self._latest.at - self._begun.at
        least = DOUBT_SECONDS if lasted >= DOUBT_SECONDS else self._first
        return min(LONGEST_DOUBT_SECONDS, max(least, lasted * DOUBT_SHARE))

    async def look(self, now: Reading) -> str | None:
        # What has got quicker since the last look is quick enough; steps are why a look goes back further than that.
        quickest = max(now.rate_since(self._before), now.rate_since(self._latest))
        before, self._before, self._latest = self._before, self._latest, now
        is_slow, self._next = self._next, self._is_slow
        if now.is_starved(before) and now.left > quickest * WORTH_SECONDS:
            rate = (now.sent - before.sent) / (now.at - before.at)
            if await is_slow(self._start + now.sent - self._begun.sent, rate):
                return "it is slower than others beside it"
        return None
