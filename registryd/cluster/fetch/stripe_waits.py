"""How long a node waits for sources of a stripe that have nothing of it yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.cluster.fetch.named import WAITS
from registryd.transfer.monitoring.floor import STRIPE_FLOOR

if TYPE_CHECKING:
    from registryd.notation import Address

# How often sources of a stripe may have nothing yet, each for the seconds of `WAITS`: an index node may name nodes that
# wait for each other, one after the other.
MOST_WAITS: Final = 4
# The same for sources that get more meanwhile, as a node does that has taken the place of one at the top, and has less
# of some stripes than those below it: a minute. A source may say so as long as it likes.
_MOST_WAITS_IN_ALL: Final = 12
# What a source that is at work gets of a stripe in one wait, at least: the floor of a stripe.
_LEAST_RECEIVED: Final = int(STRIPE_FLOOR.bytes_per_second * sum(WAITS))


@dataclass(slots=True)
class StripeWaits:
    """How often in a row a source of a stripe had nothing yet: in all, and without having got much itself meanwhile."""

    count: int = 0
    idle: int = 0
    reached: int = -1
    """How much of the stripe was here the last time."""
    source: Address | None = None
    """The source that had nothing the last time, and how much it had got."""
    received: int = 0

    def note(self, source: Address, received: int, *, reached: int) -> bool:
        """Note that this source has nothing yet, and has got so much itself. Returns whether it is idle as before."""
        if reached != self.reached:
            self.count = self.idle = 0
        is_same = source == self.source and reached == self.reached
        is_idle = is_same and received < self.received + _LEAST_RECEIVED
        self.count += 1
        self.idle = self.idle + 1 if is_idle or not is_same else 1
        self.reached, self.source, self.received = reached, source, received
        return is_idle

    @property
    def are_many(self) -> bool:
        return self.idle >= MOST_WAITS or self.count >= _MOST_WAITS_IN_ALL
