"""How long to leave something alone that has failed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: `first` seconds after the first failure, `factor` times more with each further one.

    `jitter` is the share of a delay that is left to chance, so that many clients that saw the same failure do not come
    back together: a delay of 10 s with jitter 0.2 takes 8 to 10 s. Raises ValueError for numbers that make no backoff.
    """

    first: float
    longest: float
    factor: float = 2.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.longest and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ValueError(f"{self} is not a backoff")

    def delay(self, failures: int, *, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after so many failures in a row; `chance` gives numbers from 0 to 1."""
        return self._full_delay(failures) * (1 - self.jitter * chance())

    def _full_delay(self, failures: int) -> float:
        try:
            return min(self.longest, self.first * self.factor ** max(0, failures - 1))
        except OverflowError:  # after a thousand failures, a float's exponent
            return self.longest
