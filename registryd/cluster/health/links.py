"""Whether the node that gets content from the origin is slower than the origin: told by its link, next to another's.

No node is ahead of it, so its rate says nothing. But where the origin is slow, the node's link has room, and a sample
of the bytes that it has comes quickly. Where its own link is slow, the sample takes long, and other nodes are quicker.
A link that is full of other layers tells nothing about the node: the rate of all layers to it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.transfer.monitoring.thresholds import SAMPLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.cluster.health.comparing import LinkComparison
    from registryd.cluster.health.totals import Total, Totals
    from registryd.cluster.members.offer import Offer
    from registryd.notation import Address


class UplinkProbe:
    """Tells a slow node at the top of a tree from a slow origin, by samples of its link and of other nodes' links."""

    def __init__(
        self,
        source: Offer,
        *,
        links: LinkComparison,
        totals: Totals,
        tell: Callable[[Address], None] = lambda _: None,
        least: int = SAMPLE_BYTES,
    ) -> None:
        """`tell` is told of a node that has been found to be what is slow.

        `least`: the follower has to have got so much from the source before its rate says anything.
        """
        self._least = least
        self._source = source
        self._links = links
        self._tell = tell
        self._totals = totals
        self._begun: tuple[Total, int] | None = None
        self._total: Total | None = None
        self._gained = 0

    async def is_limit(self, arrived: int) -> bool:
        """Whether the source's link limits the rate of the content, and others have links that are much quicker.

        `arrived` are the bytes that the follower has.
        """
        self._links.look()
        if self._links.is_known:
            return True
        total = await self._note_total()
        begun, begun_with = self._begun = self._begun or (total, arrived)
        if min(arrived, arrived - begun_with) < self._least:
            return False
        is_limit = await self._links.is_slow(self._rate(begun, total, arrived - begun_with))
        if is_limit:
            self._tell(self._source.member.address)
        return is_limit

    def _rate(self, begun: Total, total: Total, arrived: int) -> float:
        """The rate at which the source passes everything on, since the first look, as steps are large."""
        seconds = total.at - begun.at
        return total.passed_on_since(begun, gets=self._gained / seconds, own_rate=arrived / seconds)

    async def _note_total(self) -> Total:
        """At each look, because layers that are through meanwhile have had their share of the link, too."""
        total = await self._totals.of(self._source.member)
        if self._total is not None:
            self._gained += total.gained_since(self._total)
        self._total = total
        return total
