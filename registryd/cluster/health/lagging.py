"""Whether a source that is still receiving holds its followers up.

Such a source is as quick as its own source at best. So its rate alone says nothing: where the origin is slow, all nodes
are slow. Its siblings, the nodes with the same source, tell: if they get much more of the same content, and much more
of everything that comes at the same time, then the source is slow. The node at the top has no siblings: its link tells
(`registryd.cluster.health.links`). Links also tell below a node that is slow itself (`registryd.cluster.health.room`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.cluster.health.samples import sample
from registryd.cluster.health.totals import available
from registryd.content.source import ContentUnavailable
from registryd.transfer.monitoring.thresholds import (
    FAR_BYTES,
    GIVES_MORE,
    LOOKS_PER_QUESTION,
    MUCH_QUICKER,
    QUICKER_IN_ALL,
    SOME_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.cluster.health.links import UplinkProbe
    from registryd.cluster.health.room import RoomComparison
    from registryd.cluster.health.totals import Total, Totals
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.notation import Address

    Beside = Callable[[Sought, Address], Awaitable[Sequence[Member]]]


class ArrivalRate:
    """How quickly content arrives at a node, as far as looks at it tell."""

    def __init__(self) -> None:
        self.rate = 0.0
        """Bytes a second lately; when all of it is there, the most that was seen."""
        self.available = 0
        """What was there when it was seen last."""
        self._best = 0.0
        self._seen_at: float | None = None

    def note(self, now: float, available: int, *, is_whole: bool) -> None:
        """Note how much was there."""
        if self._seen_at is not None:
            latest = (available - self.available) / (now - self._seen_at)
            self._best = max(self._best, latest)
            self.rate = self._best if is_whole else latest
        self.available, self._seen_at = available, now


class SiblingComparison:
    """Compares the source of one body with those beside it; the first comparison only takes down how far they are."""

    def __init__(  # noqa: PLR0913 - what it compares, all named
        self,
        source: Offer,
        beside: Beside,
        *,
        leave: Callable[[], None],
        top: UplinkProbe,
        room: RoomComparison | None,
        totals: Totals,
    ) -> None:
        """`leave` is told of a slow source; a slow source at the `top` counts as failed.

        `room` compares links where rates say nothing; None where links between zones may be slower than any node.
        """
        self._source = source
        self._beside = beside
        self._leave = leave
        self._top = top
        self._room = room
        self._totals = totals
        self._others: Sequence[Member] = ()
        self._looks = 0
        self._paces: dict[Address, ArrivalRate] = {}
        self._latest_totals: dict[Address, tuple[int, Total, Total]] = {}

    async def is_slow_top(self, arrived: int, _rate: float) -> bool:
        """Whether the source is the node at the top, and slow: all are held up by that one, so it is looked at early.

        The follower has so many bytes by now. Where other contents come by the same links, one look says nothing yet.
        """
        if not self._totals.are_of_one:
            return False
        await self._ask_who_is_beside()
        return not self._others and await self._is_top_limit(arrived)

    async def is_slow(self, arrived: int, rate: float) -> bool:
        """Whether the source is slow, for a follower with so many bytes and this rate lately, in bytes a second."""
        self._looks += 1
        if self._looks % LOOKS_PER_QUESTION == 1 or not self._others:
            await self._ask_who_is_beside()
        if not self._others:
            return await self._is_top_limit(arrived)
        leads = [(await self._lead(other, arrived, rate), other) for other in self._others]
        lead, other = max(leads, key=itemgetter(0))
        is_slow = (
            lead > 0
            and await self._is_nearer_to_us(arrived, lead)
            and await self._gets_less_than(other)
            and await self._is_given_more_by(other, rate)
        )
        if not is_slow:
            await self._take_down_totals(arrived)
            is_slow = self._room is not None and await self._room.is_limit(arrived, rate, self._others)
        if is_slow:
            self._leave()
            await self._tell_source()
        return is_slow

    async def _is_top_limit(self, arrived: int) -> bool:
        is_limit = await self._top.is_limit(arrived)
        if is_limit:
            await self._tell_source()
        return is_limit

    async def _tell_source(self) -> None:
        """Tell the source that it is slow, so that no node is sent to it for a while. An older version hears a find."""
        with suppress(ContentUnavailable):
            await self._source.member.tell_slow(self._source.sought)

    async def _take_down_totals(self, arrived: int) -> None:
        """Note the totals of the siblings that begin to be ahead, for the next look."""
        for other in self._others:
            look, *_ = self._latest_totals.get(other.address, (0,))
            is_ahead = self._paces[other.address].available - arrived >= SOME_BYTES
            if is_ahead and look < self._looks and not self._totals.are_of_one:
                await self._look_at_all(other)

    async def _ask_who_is_beside(self) -> None:
        self._others = await self._beside(self._source.sought, self._source.member.address)
        for other in self._others:
            if not self._totals.are_of_one and other.address not in self._latest_totals:
                await self._look_at_all(other)

    async def _lead(self, other: Member, arrived: int, rate: float) -> int:
        """By how much that node is ahead of us, if it is far ahead and was much quicker; else 0."""
        there = await available(other, self._source.sought)
        pace = self._paces.setdefault(other.address, ArrivalRate())
        pace.note(clock.now(), there, is_whole=there == self._source.content.size)
        is_much_quicker = pace.rate > rate * MUCH_QUICKER
        return there - arrived if is_much_quicker and there - arrived >= FAR_BYTES else 0

    async def _is_nearer_to_us(self, arrived: int, lead: int) -> bool:
        """Whether the source has hardly more than we do: else it is our link that is slow, or the one between."""
        return await available(self._source.member, self._source.sought) - arrived < lead / 2

    async def _gets_less_than(self, other: Member) -> bool:
        """Whether the source also got much less of all that is coming here, since the last look.

        Else its link is full, and this content has a small share of it.
        """
        if self._totals.are_of_one:
            return True
        look, source_before, other_before = self._latest_totals.get(other.address, (0, None, None))
        source, theirs = await self._look_at_all(other)
        if source_before is None or other_before is None or look != self._looks - 1:
            return False
        rate = theirs.rate_since(other_before)
        if theirs.available.get(self._source.content.digest) == self._source.content.size:
            rate = max(rate, self._paces[other.address].rate)
        return rate > source.rate_since(source_before) * QUICKER_IN_ALL

    async def _is_given_more_by(self, other: Member, rate: float) -> bool:
        """Whether that node gives more than the source does; without a sample the answer is yes.

        That node may be the source's own source, and its link may be too slow to pass on what it gets quickly: then
        that link is slow, and not the source.
        """
        enough = rate * GIVES_MORE
        return not 0 < await sample(other, self._source.sought, enough=enough) < enough

    async def _look_at_all(self, other: Member) -> tuple[Total, Total]:
        """The totals that the source and that node have by now of all content that is coming here."""
        source, theirs = await asyncio.gather(self._totals.of(self._source.member), self._totals.of(other))
        self._latest_totals[other.address] = self._looks, source, theirs
        return source, theirs
