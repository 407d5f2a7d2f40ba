"""Comparing the room on the link of a source with the room on the links of other nodes, by samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.cluster.health.own_link import Pace
from registryd.transfer.monitoring.thresholds import LITTLE_ROOM, QUICKER_LINK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

    from registryd.cluster.health.own_link import OwnLink
    from registryd.cluster.health.samples import SlowLinks
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought

    Holders = Callable[[Sought], Awaitable[Sequence[Member]]]


class LinkComparison:
    """Compares the link of one body's source; what it finds out counts for all bodies from this source."""

    def __init__(
        self, source: Offer, holders: Holders, *, looks: Collection[int], own: OwnLink, known: SlowLinks
    ) -> None:
        """`holders` have some of the content and may be quick; `known` are sources that were found to be slow lately.

        Samples are taken at these `looks`, the first of which is 1; if that is not possible, at the next one that is.
        """
        self._source = source
        self._holders = holders
        self._due = sorted(looks)
        self._own = own
        self._known = known
        self._pace = Pace(own)
        self._looks = 0
        self._came = 0.0

    @property
    def is_known(self) -> bool:
        """Whether this source was found to be slow lately."""
        return self._source.member.address in self._known

    def look(self) -> None:
        """Count a look, and what came since the last one."""
        self._looks += 1
        self._came = self._pace.since_last()

    async def is_slow(self, rate: float, beside: Sequence[Member] = ()) -> bool:
        """Whether the source's link has hardly more room than this rate, and the link of another node much more.

        The source passes everything on at this rate, in bytes a second. The nodes `beside` it are the first to be
        compared. If nothing comes meanwhile, a node further up stands still: that says nothing about the source, and
        a sample that comes slowly says that this machine has much to do.
        """
        best = await self._quicker(rate, beside)
        if not best:
            return False
        arrived, enough = self._own.arrived(), _enough(rate, best)
        # Twice: the first one may open a connection.
        is_slow = await self._source_gives_less(enough) and await self._source_gives_less(enough)
        return self._note(is_slow=is_slow and self._own.arrived() > arrived)

    async def is_slow_top(self, rate: float) -> bool:
        """The same of a source that has just said that it has what a sample takes, where all comes by way of it.

        So its samples take no longer than a quick link needs. Two: where the origin is slow, its link is full for
        moments. What comes meanwhile has to be as little as before: one that stood still for a moment gives well again.
        """
        best = await self._quicker(rate)
        if not best:
            return False
        begun, arrived = clock.now(), self._own.arrived()
        enough = _enough(rate, best)
        is_slow = await self._source_gives_less(enough, has_answered=True)
        is_slow = is_slow and await self._source_gives_less(enough, has_answered=True)
        came = (self._own.arrived() - arrived) / (clock.now() - begun) if is_slow else 0.0
        return self._note(is_slow=is_slow and came * QUICKER_LINK <= best)

    async def _quicker(self, rate: float, beside: Sequence[Member] = ()) -> float:
        """The rate of another node that gives much more, if it is time for samples; else 0."""
        if not self._due or self._looks < self._due[0] or self._is_held_up_here(rate):
            return 0.0
        self._due = [look for look in self._due if look > self._looks]
        # Others first: where all links are full, two samples say so, and the source's link has no more to carry.
        best = await self._best(beside, rate)
        return best if best >= rate * QUICKER_LINK else 0.0

    def _note(self, *, is_slow: bool) -> bool:
        if is_slow:
            self._known.add(self._source.member.address)
        return is_slow

    def _is_held_up_here(self, rate: float) -> bool:
        """Whether this node's own link is full, and not with what comes from much quicker sources than this one."""
        return self._came < rate * QUICKER_LINK and self._own.is_full(self._came)

    async def _source_gives_less(self, enough: float, *, has_answered: bool = False) -> bool:
        source = self._source
        given = await self._own.sample(source.member, source.sought, enough=enough, has_answered=has_answered)
        return 0 < given < enough

    async def _best(self, beside: Sequence[Member], rate: float) -> float:
        """The rate of the first node that gives enough, or the best rate until this node's own link proves full."""
        best, enough = 0.0, rate * QUICKER_LINK
        async for other in self._others(beside):
            best = max(best, await self._own.try_other(other, self._source.sought, enough=enough))
            if best >= enough or self._is_held_up_here(rate):
                return best
        self._own.tried_all()
        return best

    async def _others(self, beside: Sequence[Member]) -> AsyncGenerator[Member, None]:
        for other in beside:
            yield other
        for other in await self._holders(self._source.sought):
            if other is not self._source.member and other not in beside:
                yield other


def _enough(rate: float, best: float) -> float:
    """What a source gives at least that is not slow, where all comes at this rate, and another node gives the best."""
    return min(rate * LITTLE_ROOM, best / QUICKER_LINK)
