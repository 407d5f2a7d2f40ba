"""How many bytes a transfer may take: a rate that may change at any time, and pulls before background transfers."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from registryd.aio import clock

# Seconds after which a changed rate counts for transfers that wait already.
_LONGEST_SLEEP: Final = 0.5
# The precision of a timer of the event loop.
_SHORTEST_SLEEP: Final = 0.001
# Seconds for which an allowance that was not used is kept: less than anybody looks at, more than a step takes.
_BURST_SECONDS: Final = 0.1
# Of the mean that says how quickly pulls come: long enough for the pauses between bodies, short enough for their end.
_MEAN_SECONDS: Final = 1.0
# Without a byte for so long, no pull is under way.
_QUIET_SECONDS: Final = 1.0
# The least that the background gets, a second: four times the pace at which a source is left (monitoring.floor).
_LEAST_IN_BACKGROUND: Final = 1024 * 1024
DEFAULT_BACKGROUND: Final = 0.25


class Priority(Enum):
    """Whom the bytes are for; the value is what one agent tells another of it."""

    PULL = ""
    """Somebody waits for them."""
    BACKGROUND = "background"
    """Bytes that come before a pod needs them: by prefetch, or as a further copy."""

    @classmethod
    def named(cls, text: str) -> Priority:
        """The class that a receiver names; PULL when the receiver names no known class."""
        return cls.BACKGROUND if text == cls.BACKGROUND.value else cls.PULL


@dataclass(frozen=True, slots=True)
class Ticket:
    """The sum that has to be paid before the same transfer takes more bytes."""

    total: int = 0
    background: int = 0


class Allowance:
    """Bytes a second for all that take from it together, each as often as the others.

    While pulls take, the background gets `background` of all that comes, and 1 MiB a second at least: also where there
    is no limit, so that it never halves what a pull gets on a link that is full.
    """

    def __init__(self, bytes_per_second: int = 0, *, background: float = DEFAULT_BACKGROUND) -> None:
        """0 bytes per second: no limit. `background` is a share, from 0 to 1."""
        self.bytes_per_second = bytes_per_second
        self.background = background
        self._total = _Account()
        self._of_background = _Account()
        self._mean = 0.0
        self._pulled_at = -math.inf

    def take(self, count: int, priority: Priority = Priority.PULL) -> Ticket:
        """Note that so many bytes were taken."""
        now = clock.now()
        self._pay(now)
        if priority is Priority.BACKGROUND:
            return Ticket(self._total.take(count), self._of_background.take(count))
        self._mean = self._mean_now(now) + count / _MEAN_SECONDS
        self._pulled_at = now
        return Ticket(self._total.take(count))

    async def wait(self, ticket: Ticket) -> None:
        """Return when what was taken is paid; at once where nothing is limited."""
        if not (self.bytes_per_second or ticket.background):
            return  # without the accounts: asked for each step of each body
        while (seconds := self._seconds_until(ticket)) > 0:  # noqa: ASYNC110 - time is what it waits for
            await asyncio.sleep(max(_SHORTEST_SLEEP, min(seconds, _LONGEST_SLEEP)))

    def _seconds_until(self, ticket: Ticket) -> float:
        now = clock.now()
        self._pay(now)
        of_background = self._of_background.seconds_until(ticket.background, self._background_rate(now))
        return max(of_background, self._total.seconds_until(ticket.total, self.bytes_per_second))

    def _pay(self, now: float) -> None:
        self._total.pay(now, self.bytes_per_second)
        self._of_background.pay(now, self._background_rate(now))

    def _background_rate(self, now: float) -> float:
        """Bytes a second; 0: as many as the whole."""
        if now - self._pulled_at >= _QUIET_SECONDS or self.background >= 1:
            return 0.0
        return max(_LEAST_IN_BACKGROUND, self._mean_now(now) * self.background / (1 - self.background))

    def _mean_now(self, now: float) -> float:
        return self._mean * math.exp((self._pulled_at - now) / _MEAN_SECONDS)


class _Account:
    """The number of bytes taken, and the number of bytes paid: both grow for ever."""

    def __init__(self) -> None:
        self._taken = 0
        self._paid = 0.0
        self._paid_at = 0.0

    def take(self, count: int) -> int:
        """The sum of all payments with which these bytes are paid."""
        self._taken += count
        return self._taken

    def pay(self, now: float, rate: float) -> None:
        """Pay at this rate for the time since the last call; rate 0 pays everything that was taken."""
        allowed = self._taken + rate * _BURST_SECONDS
        self._paid = min(allowed, self._paid + rate * (now - self._paid_at)) if rate else allowed
        self._paid_at = now

    def seconds_until(self, paid: int, rate: float) -> float:
        """Wait until so many bytes are paid."""
        return (paid - self._paid) / rate if rate and paid > self._paid else 0.0
