"""Whether this node's own link is full: then no source holds this node up, and no sample can tell of a better one.

All contents that come to this node share its link, so what one of them finds out counts for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.expiring import ExpiringSet
from registryd.cluster.health.samples import sample
from registryd.transfer.monitoring.thresholds import FULL_SECONDS, FULL_SHARE, FULL_WITNESSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.notation import Address

# Of one content, three or four nodes are sampled at a look.
_REMEMBERED: Final = 100


class OwnLink:
    """The link of this node: what comes to the agent over it, as content and as samples."""

    def __init__(self, arrived: Callable[[], int] = lambda: 0) -> None:
        """`arrived`: how many bytes ever have, without samples."""
        self.arrived = arrived
        self._sampled = 0
        self._tried: ExpiringSet[tuple[Address, float]] = ExpiringSet(lifetime=FULL_SECONDS, capacity=_REMEMBERED)
        self._tried_all: ExpiringSet[None] = ExpiringSet(lifetime=FULL_SECONDS, capacity=1)

    @property
    def carried(self) -> int:
        """All bytes that have come to this node, samples included."""
        return self.arrived() + self._sampled

    async def sample(self, member: Member, sought: Sought, *, enough: float, has_answered: bool = False) -> float:
        """Take a sample, which counts as carried."""
        return await sample(member, sought, enough=enough, count=self._count, has_answered=has_answered)

    async def try_other(self, member: Member, sought: Sought, *, enough: float) -> float:
        """Take a sample of a node that nobody suspects, and note how much came in all while it was taken."""
        begun, carried = clock.now(), self.carried
        rate = await self.sample(member, sought, enough=enough)
        if rate:
            self._tried.add((member.address, (self.carried - carried) / (clock.now() - begun)))
        return rate

    def tried_all(self) -> None:
        """Note that all nodes that could be tried have been, for one content."""
        self._tried_all.add(None)

    def is_full(self, rate: float) -> bool:
        """Whether everything comes at a rate that trying other nodes hardly raised lately.

        One other node is not enough, because it may be slow itself, unless there is no second one.
        """
        tried = list(self._tried)
        if len({address for address, _ in tried}) < FULL_WITNESSES and not (tried and self._tried_all):
            return False
        return rate >= max(in_all for _, in_all in tried) * FULL_SHARE

    def _count(self, count: int) -> None:
        self._sampled += count


class Pace:
    """The rate at which everything comes to this node, from look to look."""

    def __init__(self, own: OwnLink) -> None:
        self._own = own
        self._at, self._carried = clock.now(), own.carried

    def since_last(self) -> float:
        """Bytes a second, since the last call."""
        now, carried = clock.now(), self._own.carried
        rate = (carried - self._carried) / (now - self._at) if now > self._at else 0.0
        self._at, self._carried = now, carried
        return rate
