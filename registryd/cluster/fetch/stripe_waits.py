"""How long a node waits for sources of a stripe that have nothing of it yet.

The index node keeps one that it has just put at the top: that one begins where its containerd is, and those below it
have more of some stripes. It has to fetch what they are ahead. How much that is, and how quickly it comes, is what such
a source says. So a node goes by what it knows itself: how far the stripe is ahead here, and how quickly stripes came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.cluster.fetch.named import WAITS
from registryd.transfer.monitoring.floor import STRIPE_FLOOR
from registryd.transfer.monitoring.thresholds import HELD_UP_SECONDS, STRIPE_MUCH_BYTES

if TYPE_CHECKING:
    from registryd.notation import Address

_WAIT_SECONDS: Final = sum(WAITS)
# How often sources of a stripe may have nothing yet, each for the seconds of `WAITS`: an index node may name nodes that
# wait for each other, one after the other.
MOST_WAITS: Final = 4
# The same for sources that get more meanwhile: a minute.
_MOST_WAITS_IN_ALL: Final = 12
# After so many, a source that the index node keeps is reported: 15 s, as a top that gives nothing for so long
# (GROWING_STALL_TIMEOUT).
_MOST_WAITS_FOR_ONE: Final = 3
# The same for one that is held up itself: so long as it is believed when it has begun to give (HELD_UP_SECONDS).
_MOST_EXCUSED: Final = math.ceil(HELD_UP_SECONDS / _WAIT_SECONDS)
# One that gets more is waited for longer, until it could have fetched what it lacks at such a part of the rate at which
# stripes came: the node before it at the top may be fetching still, by the same link of the origin.
_CATCHES_UP_SLOWER: Final = 2
# What a source that is at work gets of a stripe in one wait, at least: the floor of a stripe.
_LEAST_RECEIVED: Final = int(STRIPE_FLOOR.bytes_per_second * _WAIT_SECONDS)


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
    count_here: int = 0
    """How often in a row this source had nothing, and how often it may if it gets more."""
    most_here: int = 0
    excused: int = 0
    """How often in a row a source of the stripe had nothing because it is held up itself."""

    def note_excused(self, *, reached: int) -> None:
        """Note that a source has nothing yet because it is held up itself; of this stripe, `reached` bytes are here."""
        if reached != self.reached:
            self.count = self.idle = self.excused = 0
        self.reached, self.source, self.count_here = reached, None, 0
        self.excused += 1

    def note(self, source: Address, received: int, *, reached: int, lead: int, rate: float) -> bool:
        """Note that this source has nothing yet, and has got so much itself. Returns whether it is idle as before.

        Of this stripe, `reached` bytes are here, of which containerd cannot take the last `lead` yet; stripes came at
        this rate, in bytes a second.
        """
        if reached != self.reached:
            self.count = self.idle = self.excused = 0
        is_same = source == self.source and reached == self.reached
        is_idle = is_same and received < self.received + _LEAST_RECEIVED
        if not is_same:
            self.count_here = 0
            lacks = max(0, min(reached - received, lead + STRIPE_MUCH_BYTES))  # it says so, and it may be so
            seconds = _CATCHES_UP_SLOWER * lacks / rate if rate else 0.0
            self.most_here = _MOST_WAITS_FOR_ONE + math.ceil(seconds / _WAIT_SECONDS)
        self.count += 1
        self.count_here += 1
        self.idle = self.idle + 1 if is_idle or not is_same else 1
        self.reached, self.source, self.received = reached, source, received
        return is_idle

    def begin_anew(self) -> None:
        """Another source has been named in place of one that was reported: it has not been waited for."""
        self.idle = 0

    @property
    def are_many_for_one(self) -> bool:
        """Whether this source has had nothing for so long that it is to be reported, even if it is at the top."""
        return self.count_here > 0 and self.count_here >= (
            _MOST_WAITS_FOR_ONE if self.idle >= _MOST_WAITS_FOR_ONE else self.most_here
        )

    @property
    def are_many(self) -> bool:
        """Whether this stripe is not to be waited for any longer: a source that was reported has been named again."""
        is_long = self.idle >= MOST_WAITS or self.excused >= _MOST_EXCUSED or self.count >= _MOST_WAITS_IN_ALL
        return is_long or self.count_here > self.most_here
