"""Whether a registry can be reached, as far as all questions to it have shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONG_AGO: Final = float("-inf")
# An answer proves that the registry is there for so long. The kubelet tries a failed pull again after 10 s: then an
# outage that began just after the answer is noticed.
_ANSWER_HOLDS: Final = 10.0
# A dead registry is asked again in the background so often, at first and at last. A minute: it is back at most that
# much longer than it was away.
_AFTER_FAILURE: Final = Backoff(first=5.0, longest=60.0)
# Twice the longest pause: an older failure was not checked again, because no client asked, and proves nothing.
_FAILURE_HOLDS: Final = 120.0
# After a 429 without Retry-After. Docker Hub's limits are per minute (abuse) and per six hours (pulls).
_AFTER_LIMIT: Final = Backoff(first=60.0, longest=3600.0)
# No server silences the agent for longer than this, however large the Retry-After.
_LONGEST_LIMIT: Final = 3600.0


class RegistryState(Enum):
    """Whether a registry can be used now."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class RegistryContact:
    """One registry's latest answers and failures; times are of one clock, in seconds.

    `first_pauses`: for how long it is left alone after its first 429s in a row that do not say for how long.
    """

    first_pauses: Sequence[float] = ()
    answered_at: float = _LONG_AGO
    failed_at: float = _LONG_AGO
    failures: int = 0
    limits: int = 0
    quiet_until: float = _LONG_AGO
    limited_until: float = _LONG_AGO
    limited_because: str = ""

    def presence(self, now: float) -> RegistryState:
        """The result of the latest contact, if it is recent enough to count."""
        if now < self.limited_until or now - self.answered_at < _ANSWER_HOLDS:
            return RegistryState.THERE
        return RegistryState.GONE if self.failures and now - self.failed_at < _FAILURE_HOLDS else RegistryState.UNKNOWN

    def is_quiet(self, now: float) -> bool:
        """Whether it should be left alone for now: it did not answer, or it said that it was too much."""
        return self.quiet_for(now) > 0

    def quiet_for(self, now: float) -> float:
        """For how many seconds it should be left alone; not above 0 when it may be asked."""
        return max(self.quiet_until, self.limited_until) - now

    def answered(self, now: float) -> None:
        """Note that the registry gave a sensible answer."""
        self.answered_at = now
        self.failures = self.limits = 0
        self.quiet_until = _LONG_AGO

    def limited(self, now: float, retry_after: float | None, because: str = "") -> None:
        """Note that the registry limited this node, in these words."""
        self.limited_because = because
        self.answered_at = now
        self.failures = 0
        if now >= self.limited_until:  # the others were under way when it said so
            self.limits += 1
        pause = self._pause() if retry_after is None else max(1.0, retry_after)
        self.limited_until = now + min(pause, _LONGEST_LIMIT)

    def failed(self, now: float) -> None:
        """Note that the registry did not answer, or with a fault of its own."""
        self.failed_at = now
        self.answered_at = _LONG_AGO
        self.failures += 1
        self.quiet_until = now + _AFTER_FAILURE.delay(self.failures)

    def _pause(self) -> float:
        """The seconds after a 429 that does not say for how long."""
        later = self.limits - len(self.first_pauses)
        return _AFTER_LIMIT.delay(later) if later > 0 else self.first_pauses[self.limits - 1]
