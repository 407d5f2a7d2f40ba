"""The claims for one content that come at the same moment: whether so many that it is to come in stripes."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from registryd.cluster.contract.index import Claim
    from registryd.notation import Address

# So long after the first claim it is decided; and, once it comes in stripes, so long late comers are gathered.
GATHERED_SECONDS: Final = 0.2
LATE_SECONDS: Final = 0.1
# Claims that come so long after the last belong to another rush.
_RUSH_SECONDS: Final = 10.0
# Smaller content is over before its stripes would be arranged: a second at 100 Mbit/s.
LEAST_BYTES: Final = 16 << 20
# Who claims when it is about to be decided waits as long as this; and a wait may end so much before its end.
_MOMENT_SECONDS: Final = 0.001
# Of those that claim, one in so many may get it as a whole, from the same node at the top.
_TENTH: Final = 10


class Rush:
    """Gathers claims, and says when there are enough. `now` is in seconds of any clock, always the same one."""

    def __init__(self, least: int) -> None:
        """`least`: so many at the same moment get it in stripes; 0: none do."""
        self._least = least
        self._last = -math.inf
        self._until = 0.0
        self._gathered: dict[Address, Claim] = {}
        self._ungathered: OrderedDict[Address, float] = OrderedDict()
        """When those came lately that have not been gathered, the first to come first."""
        self._others: set[Address] = set()
        self.assigned: dict[Address, tuple[Address, ...]] = {}
        """The sources of those that have been gathered, until they are told."""

    def note(self, claim: Claim, now: float, *, is_new: bool = True) -> None:
        """Note a claim, gathered or not; one that is not `is_new` is of a node that has a place already."""
        if now > self._last + _RUSH_SECONDS:
            self._until = now + GATHERED_SECONDS
            self._others.clear()
            self.assigned.clear()
        self._last = now
        if is_new and not claim.takes_stripes and now < self._until:
            self._others.add(claim.claimant.address)

    def seconds(self, claim: Claim, now: float, *, is_striped: bool, holders: int = 0) -> float:
        """How long this claim is to wait; 0: it gets the content as a whole.

        With one of the `holders` for each stripe, which have all of it, any of them gives it to those that come now and
        then. Nobody waits before more than these have come at the same moment.
        """
        if not (self._least and claim.takes_stripes) or claim.size is None or claim.size < LEAST_BYTES:
            return 0.0
        self.note(claim, now)
        is_over = now >= self._until or (holders >= STRIPES and not is_striped)
        if is_over and not self._gathered:  # else the event loop is late, and these are about to be told
            if not (is_striped or self._quickens(claim.claimant.address, now, holders)):
                return 0.0
            self._others.clear()
            self._until = now + (LATE_SECONDS if is_striped else GATHERED_SECONDS)
        self._gathered[claim.claimant.address] = claim
        return max(_MOMENT_SECONDS, self._until - now)

    def _quickens(self, address: Address, now: float, holders: int) -> bool:
        """Count this one; whether as many have come lately as are enough at the beginning, and more than have it."""
        lately = self._ungathered
        while lately and next(iter(lately.values())) <= now - GATHERED_SECONDS:
            lately.popitem(last=False)
        lately.setdefault(address, now)
        is_many = len(lately) >= self._least and len(lately) > holders
        if is_many:
            lately.clear()
        return is_many

    def withdraw(self, address: Address) -> None:
        """The node does not wait any more."""
        self._gathered.pop(address, None)
        self.assigned.pop(address, None)

    def settle(self, now: float, *, is_striped: bool) -> list[Claim]:
        """The claims that are to get it in stripes now, the ones that came first in their image at the beginning."""
        if not self._gathered or now < self._until - _MOMENT_SECONDS:
            return []
        gathered, self._gathered = list(self._gathered.values()), {}
        is_many = len(gathered) + 1 >= self._least and are_few(len(self._others), among=len(gathered))
        return sorted(gathered, key=_rank) if is_striped or is_many else []


def are_few(others: int, *, among: int) -> bool:
    """Whether so few do not take stripes, beside so many that do, that these get it in stripes."""
    return others * _TENTH <= among


def _rank(claim: Claim) -> float:
    return math.inf if claim.rank is None else claim.rank
