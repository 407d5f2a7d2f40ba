"""How quickly the stripes of one content come, and which of them are held up.

TCP shares links unevenly among the eight streams that a node gets and the eight that it gives, so for a second or two a
stripe may come slowly from a node whose link is as good as any. Looks at it compare more than that.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from registryd.transfer.monitoring.thresholds import (
    STRIPE_BEHIND_BYTES,
    STRIPE_LATE_SECONDS,
    STRIPE_LOOK_SECONDS,
    STRIPE_MUCH_SLOWER,
    STRIPE_WINDOW_BYTES,
    WORTH_SECONDS,
)
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

# So many looks are remembered at most. What comes so slowly that they do not tell has a floor like any other body.
_MOST_LOOKS: Final = 256


class StripePace:
    """What has come of each stripe, at some moments lately, in bytes of the stripe and seconds of any one clock."""

    def __init__(self, reached: Sequence[int], now: float) -> None:
        self._seen = deque([(now, tuple(reached))], maxlen=_MOST_LOOKS)
        self._usual = 0.0
        """The best rate at which the third best of the stripes came for a while, in bytes a second."""
        self._came_at = [now] * STRIPES
        self._late: dict[int, tuple[float, int]] = {}
        """The stripes for which others wait: since when, and what had come of them by then."""

    @property
    def window(self) -> float:
        """Over how many seconds stripes are compared."""
        return max(2 * STRIPE_LOOK_SECONDS, STRIPE_WINDOW_BYTES / self._usual) if self._usual else 0.0

    @property
    def rate(self) -> float:
        """The rate at which stripes come, in bytes a second: the best for a while, or else that since the beginning."""
        (then, before), (now, reached) = self._seen[0], self._seen[-1]
        if self._usual or now == then:
            return self._usual
        return (third_best(reached) - third_best(before)) / (now - then)

    def look(self, reached: Sequence[int], now: float) -> None:
        """Note how much has come by now."""
        third = third_best(reached)
        _, before = self._seen[-1]
        self._came_at = [
            at if count == reached[stripe] else now
            for stripe, (at, count) in enumerate(zip(self._came_at, before, strict=True))
        ]
        self._seen.append((now, tuple(reached)))
        enough = [then for then in self._seen if third - third_best(then[1]) >= STRIPE_WINDOW_BYTES]
        if enough:
            then, before = enough[-1]
            self._usual = max(self._usual, (third - third_best(before)) / (now - then))
        while self._usual and len(self._seen) > 1 and self._seen[1][0] <= now - self.window:
            self._seen.popleft()

    def held_up(self) -> Sequence[int]:
        """The stripes that are far behind the third best and come much more slowly than stripes do, the last first."""
        (then, before), (now, reached) = self._seen[0], self._seen[-1]
        if not self._usual or now - then < self.window:
            return ()
        least = self._usual * (now - then) / STRIPE_MUCH_SLOWER
        third = third_best(reached)
        found = [
            stripe
            for stripe in range(STRIPES)
            if third - reached[stripe] >= STRIPE_BEHIND_BYTES and reached[stripe] - before[stripe] < least
        ]
        return sorted(found, key=lambda stripe: reached[stripe])

    def is_outrun(self, stripe: int) -> bool:
        """Whether others come much more quickly now: where none does, the node at the top may be silent."""
        (_, before), (_, reached) = self._seen[0], self._seen[-1]
        came = third_best(reached) - third_best(before)
        return (reached[stripe] - before[stripe]) * STRIPE_MUCH_SLOWER < came

    def seconds(self, stripe: int, left: int) -> float:
        """How long so many bytes of that stripe take at the rate at which it came lately."""
        (then, before), (now, reached) = self._seen[0], self._seen[-1]
        came = reached[stripe] - before[stripe]
        return left * (now - then) / came if came else math.inf

    def silence(self, stripe: int, now: float) -> float:
        """For how many seconds nothing has come of that stripe."""
        return now - self._came_at[stripe]

    def late(self, waited_for: Collection[int]) -> Sequence[int]:
        """Of the stripes for which others wait now, those that have come slowly for long while others waited."""
        now, reached = self._seen[-1]
        for stripe in self._late.keys() - set(waited_for):
            del self._late[stripe]
        found = []
        for stripe in waited_for:
            since, before = self._late.setdefault(stripe, (now, reached[stripe]))
            if now - since < STRIPE_LATE_SECONDS:
                continue
            if (reached[stripe] - before) * STRIPE_MUCH_SLOWER < self._usual * (now - since):
                found.append(stripe)
            else:
                del self._late[stripe]
        return found

    def begin_anew(self, stripe: int) -> None:
        """Another source gives this stripe from now on: it is late when it has been so for long again."""
        self._late.pop(stripe, None)

    def is_worth_a_change(self, left: int) -> bool:
        """Whether so many bytes of the content take so long that another source pays."""
        return left > max(self._usual, 1.0) * STRIPES * WORTH_SECONDS


def third_best(values: Iterable[int], key: Callable[[int], int] | None = None) -> int:
    """The third best of one number for each stripe, or of the stripes by such a number.

    Not the middle one: of 300 nodes, 8 % of them slow, some have slow sources for half of their stripes. Not the best:
    one stripe may come from a node that had all of it before.
    """
    return sorted(values, key=key)[-3]
