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
    from registryd.cluster.health.totals import Totals
    from registryd.cluster.members.offer import Offer
    from registryd.notation import Address


class UplinkProbe:
    """Tells a slow node at the top of a tree from a slow origin, by samples of its link and of other nodes' links."""

    def __init__(  # noqa: PLR0913 - what it tells by, all named
        self,
        source: Offer,
        *,
        links: LinkComparison,
        totals: Totals,
        start: int,
        begin: int | None = None,
        tell: Callable[[Address], None] = lambda _: None,
        least: int = SAMPLE_BYTES,
    ) -> None:
        """The body begins now, at byte `start`, which is the byte `begin` of the content if the body is of a stripe.

        `tell` is told of a node that has been found to be what is slow. `least`: the follower has to have got so much
        from the source before its rate says anything.
        """
        self._least = least
        self._source = source
        self._links = links
        self._tell = tell
        self._totals = totals
        # The source had at least this by now: it may have got less than what this makes it, never more.
        self._begun = self._total = totals.at_least(source.content.digest, start if begin is None else begin)
        self._begun_with = start
        self._has_looked = False
        self._gained = 0

    async def is_limit(self, arrived: int) -> bool:
        """Whether the source's link limits the rate of the content, and others have links that are much quicker.

        `arrived` are the bytes that the follower has.
        """
        self._links.look()
        if self._links.is_known:
            return True
        await self._note_total(arrived)
        came, came_in_all = arrived - self._begun_with, self._total.arrived - self._begun.arrived
        if came < self._least or max(came, came_in_all) < SAMPLE_BYTES or not self._has_a_sample:
            return False
        is_limit = await self._links.is_slow_top(self._rate(came))
        if is_limit:
            self._tell(self._source.member.address)
        return is_limit

    @property
    def _has_a_sample(self) -> bool:
        return self._total.available.get(self._source.content.digest, 0) >= SAMPLE_BYTES

    def _rate(self, came: int) -> float:
        """The rate at which the source passes everything on, since the body began, as steps are large."""
        seconds = self._total.at - self._begun.at
        return self._total.passed_on_since(self._begun, gets=self._gained / seconds, own_rate=came / seconds)

    async def _note_total(self, arrived: int) -> None:
        """At each look, because layers that are through meanwhile have had their share of the link, too."""
        total = await self._totals.of(self._source.member)
        if not self._has_looked and total.available.keys() != self._total.available.keys():
            self._begun, self._begun_with = total, arrived  # what it had of the others when the body began is unknown
        else:
            self._gained += total.gained_since(self._total)
        self._total, self._has_looked = total, True
