"""Whether the node that gets content from the origin is slower than the origin: told by its link, next to another's.

Nobody is ahead of it, so its pace says nothing. But where the origin is slow, its link has room, and a little of what
is there anyway comes quickly; where its own link is slow, and is so both ways, that takes long, and others are quicker.
A link that is full of other layers tells nothing about the node: what counts is how quickly all of them come to it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.aio import clock
from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.monitoring.thresholds import (
    LINK_LOOKS,
    LITTLE_ROOM,
    PART_BYTES,
    QUICKER_LINK,
    SAMPLE_BYTES,
    SAMPLE_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.cluster.health.totals import Total, Totals
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.notation import Address

    Holders = Callable[[Sought], Awaitable[Sequence[Member]]]


class UplinkProbe:
    """Samples the link of the source of one body, and those of others who have the same."""

    def __init__(
        self, source: Offer, holders: Holders, *, totals: Totals, tell: Callable[[Address], None] = lambda _: None
    ) -> None:
        """`tell` is told of a node that has been found to be what is slow."""
        self._tell = tell
        self._source = source
        self._holders = holders
        self._totals = totals
        self._looks = 0
        self._begun: tuple[float, int] | None = None
        self._total: Total | None = None
        self._gained = 0

    async def is_limit(self, arrived: int) -> bool:
        """Whether it makes the content come as slowly as it does, and others have links that are much quicker.

        For one who has so many bytes. Steps are large at the top: the rate is the one since the first look.
        """
        self._looks += 1
        begun_at, begun = self._begun = self._begun or (clock.now(), arrived)
        await self._note_total()
        if self._looks not in LINK_LOOKS or min(arrived, arrived - begun) < SAMPLE_BYTES:
            return False
        rate = self._gained / (clock.now() - begun_at)
        own = max([await self._sample(self._source.member) for _ in range(2)])
        if not 0 < own < rate * LITTLE_ROOM:
            return False
        is_limit = await self._somebody_gives(max(own, rate) * QUICKER_LINK)
        if is_limit:
            self._tell(self._source.member.address)
        return is_limit

    async def _note_total(self) -> None:
        """At each look, because layers that are through meanwhile have had their share of the link, too."""
        total = await self._totals.of(self._source.member)
        if self._total is not None:
            self._gained += total.gained_since(self._total)
        self._total = total

    async def _somebody_gives(self, rate: float) -> bool:
        for other in await self._holders(self._source.sought):
            if other is not self._source.member and await self._sample(other) >= rate:
                return True
        return False

    async def _sample(self, member: Member) -> float:
        """Bytes a second at which it gives the beginning of the content, beside all else that it does; 0: none."""
        begun = clock.now()
        try:
            async with asyncio.timeout(SAMPLE_SECONDS):
                for start in range(0, SAMPLE_BYTES, PART_BYTES):
                    await self._read(member, Span(start, start + PART_BYTES))
        except (ContentUnavailable, TimeoutError):
            return 0.0
        return SAMPLE_BYTES / (clock.now() - begun)

    async def _read(self, member: Member, span: Span) -> None:
        async with aclosing(member.read(self._source.sought, span)) as chunks:
            async for _ in chunks:
                pass
