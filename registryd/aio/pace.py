"""How much one of many may ask for in a second: more is done, but not sooner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")


# The rounding error when times are added up and subtracted again.
_NOTHING: Final = 1e-6


class TooFast(Exception):
    """So much is waiting already that this would wait for too long."""


class Pace(Generic[K]):
    """A bucket of `burst` tokens for each key, filled at `rate` a second.

    `longest`: seconds that a caller may wait for its turn. `most`: buckets that are remembered; of more, the fullest
    are forgotten.
    """

    def __init__(
        self, *, rate: float, burst: float, longest: float = 0.0, most: int = 4096, clock: Callable[[], float]
    ) -> None:
        self._rate = rate
        self._depth = burst / rate
        self._longest = longest
        self._most = most
        self._clock = clock
        self._full_at: dict[K, float] = {}
        """When the bucket will be full again if nothing more is taken."""

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, who: K, tokens: float = 1.0) -> float:
        """The seconds until they are there, which are taken now. Raises TooFast, and then nothing is taken."""
        now = self._clock()
        full_at = max(now, self._full_at.get(who, now)) + tokens / self._rate
        delay = full_at - now - self._depth
        if delay > self._longest + _NOTHING:
            raise TooFast(f"{who} would have to wait for {delay:.1f} s")
        if len(self._full_at) >= self._most and who not in self._full_at:
            self._forget(now)
        self._full_at[who] = full_at
        return delay if delay > _NOTHING else 0.0

    async def turn(self, who: K, tokens: float = 1.0) -> None:
        """Take them, and return when they are there. Raises TooFast."""
        if delay := self.take(who, tokens):
            await asyncio.sleep(delay)

    def _forget(self, now: float) -> None:
        """Those that are full are as if they had never been; should all be in use, the half that is fullest."""
        left = {who: full_at for who, full_at in self._full_at.items() if full_at > now}
        if len(left) >= self._most:
            emptiest = sorted(left.items(), key=lambda item: item[1])[self._most // 2 :]
            left = dict(emptiest)
        self._full_at = left
