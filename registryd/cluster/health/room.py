"""Whether a source has so little room on its link that it holds its followers up, whatever node is above it.

Where slow nodes are above each other, the nodes below the second get what the first lets through, and so do their
siblings: no rate tells that there is a second one. But a node that has to wait for its own source has room on its link.
A node whose link is slow has none, while others do. So all slow nodes of a wave are found at the same time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registryd.transfer.monitoring.thresholds import SAMPLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.health.comparing import LinkComparison
    from registryd.cluster.health.totals import Totals
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer


class RoomComparison:
    """Compares the link of a body's source with the links of other nodes, while the body comes slowly."""

    def __init__(self, source: Offer, start: int, *, links: LinkComparison, totals: Totals) -> None:
        """The body begins now, at byte `start` of the content."""
        self._source = source
        self._links = links
        self._totals = totals
        # The source had at least this by now: it may have got less than what this makes it, never more.
        self._before = totals.at_least(source.content.digest, start)

    async def is_limit(self, arrived: int, own_rate: float, beside: Sequence[Member]) -> bool:
        """Whether the source limits a follower that has so many bytes, and gets so many a second.

        The nodes `beside` it are the first to be compared.
        """
        self._links.look()
        if self._links.is_known:
            return True
        rate = await self._rate(own_rate)
        if not rate or math.isinf(rate) or arrived < SAMPLE_BYTES:
            return False
        return await self._links.is_slow(rate, beside)

    async def _rate(self, own_rate: float) -> float | None:
        """The rate at which the source passes everything on since the last look; None if that look did not see all."""
        before, now = self._before, await self._totals.of(self._source.member)
        self._before = now
        if now.available.keys() > before.available.keys():
            return None
        gets = now.rate_since(before) or math.inf  # one that gets nothing more has all of it, or is stalled
        return now.passed_on_since(before, gets=gets, own_rate=own_rate)
