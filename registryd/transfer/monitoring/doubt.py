"""Asking, now and then, whether a source that takes long is itself slow, or only its own source."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class DoubtCheck:
    """A Check of a body from byte `start` of its content: `is_slow` says whether the source holds the body up.

    The check asks `is_slow` when the receiver has been waiting for the source, and would have to wait for long. The
    arguments are the bytes that have arrived, from the content's beginning, and the rate since the look before the
    last, in bytes a second: a source that follows containerd's file grows in steps of a MiB.
    """

    def __init__(self, start: int, is_slow: IsSlow) -> None:
        self._start = start
        self._is_slow = is_slow

    def begin(self, begun: Reading) -> None:
        self._begun = self._latest = self._before = begun

    def pause(self) -> float:
        lasted = self._latest.at - self._begun.at
        return min(LONGEST_DOUBT_SECONDS, max(DOUBT_SECONDS, lasted * DOUBT_SHARE))

    async def look(self, now: Reading, *, left: int) -> str | None:
        before, self._before, self._latest = self._before, self._latest, now
        if now.is_starved(before) and left > now.rate_since(before) * WORTH_SECONDS:
            rate = (now.sent - before.sent) / (now.at - before.at)
            if await self._is_slow(self._start + now.sent - self._begun.sent, rate):
                return "it is slower than others beside it"
        return None

    def end(self, ended: Reading) -> None:
        """Do nothing: this check keeps nothing."""
