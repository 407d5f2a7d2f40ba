"""Whether a source has so little room on its link that it holds its followers up, whatever node is above it.

Where slow nodes are above each other, the nodes below the second get what the first lets through, and so do their
siblings: no rate tells that there is a second one. But a node that has to wait for its own source has room on its link.
A node whose link is slow has none, while others do. So all slow nodes of a wave are found at the same time.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from registryd.cluster.health.samples import sample
from registryd.cluster.health.totals import Total
from registryd.transfer.monitoring.thresholds import LITTLE_ROOM, QUICKER_LINK, ROOM_LOOKS, SAMPLE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from registryd.cluster.health.links import Holders
    from registryd.cluster.health.samples import SlowLinks
    from registryd.cluster.health.totals import Totals
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer


class RoomComparison:
    """Compares the room on the link of a body's source with the room on the links of other nodes with the content."""

    def __init__(self, source: Offer, start: int, holders: Holders, *, totals: Totals, known: SlowLinks) -> None:
        """The body begins now, at byte `start` of the content; `holders` have some of it and may be quick.

        `known` are sources of which it has been found out.
        """
        self._known = known
        self._source = source
        self._holders = holders
        self._totals = totals
        self._looks = 0
        # The source had at least this by now: it may have got less than what this makes it, never more.
        now = asyncio.get_running_loop().time()
        self._before = Total(now, {source.content.digest: start}, totals.arrived())

    async def is_limit(self, arrived: int, own_rate: float, beside: Sequence[Member]) -> bool:
        """Whether the source limits a follower that has so many bytes, and gets so many a second.

        The nodes `beside` it are the first to be compared.
        """
        self._looks += 1
        if self._source.member.address in self._known:
            return True
        rate = await self._rate(own_rate)
        if not rate or math.isinf(rate) or self._looks not in ROOM_LOOKS or arrived < SAMPLE_BYTES:
            return False
        # Others first: where all links are full, one sample says so, and the source's link has no more to carry.
        best = await self._best(beside, enough=rate * QUICKER_LINK)
        if best < rate * QUICKER_LINK:
            return False
        enough = min(rate * LITTLE_ROOM, best / QUICKER_LINK)
        # Twice: the first one may open a connection.
        is_limit = await self._source_gives_less(enough) and await self._source_gives_less(enough)
        if is_limit:
            self._known.add(self._source.member.address)
        return is_limit

    async def _source_gives_less(self, enough: float) -> bool:
        return 0 < await sample(self._source.member, self._source.sought, enough=enough) < enough

    async def _rate(self, own_rate: float) -> float | None:
        """The rate at which the source passes everything on since the last look; None if that look did not see all."""
        before, now = self._before, await self._totals.of(self._source.member)
        self._before = now
        if now.available.keys() > before.available.keys():
            return None
        gets = now.rate_since(before) or math.inf  # one that gets nothing more has all of it, or is stalled
        return now.passed_on_since(before, gets=gets, own_rate=own_rate)

    async def _best(self, beside: Sequence[Member], *, enough: float) -> float:
        """The rate of the first node that gives enough, or the best rate."""
        best = 0.0
        async for other in self._others(beside):
            best = max(best, await sample(other, self._source.sought, enough=enough))
            if best >= enough:
                break
        return best

    async def _others(self, beside: Sequence[Member]) -> AsyncGenerator[Member, None]:
        for other in beside:
            yield other
        for other in await self._holders(self._source.sought):
            if other is not self._source.member and other not in beside:
                yield other
