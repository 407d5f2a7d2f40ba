"""Whether a source that is still receiving is what holds its followers up.

It is as quick as its own source at best, so that its rate alone says nothing: where the origin is slow, everyone is.
Others with the same source tell: if they get much more of the same content, it is the one that is slow. Nobody gets it
from where the one at the top does: its link tells (`registryd.cluster.links`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.cluster.search import offer_of
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.cluster.links import TopLink
    from registryd.cluster.member import Member
    from registryd.cluster.search import Offer
    from registryd.notation import Address
    from registryd.oci.digest import Digest

    Beside = Callable[[Digest, Address], Awaitable[Sequence[Member]]]

# So far ahead of us is nobody who gets it by a way as long: what containerd writes at a time, what is in the sockets,
# and what streams that share a link unevenly make up for within a second or two.
_FAR_BYTES: Final = 4 << 20
# Streams that share a link come at rates that differ by less; so do a source at the top and the two that share its.
_MUCH_QUICKER: Final = 3
# Who stands beside the source changes: it is asked again after so many looks.
_LOOKS_PER_QUESTION: Final = 4


class Pace:
    """How quickly content arrives at a node, as far as looks at it tell: bytes a second."""

    def __init__(self) -> None:
        self.latest = 0.0
        self.best = 0.0
        self._seen: tuple[float, int] | None = None

    def note(self, now: float, available: int) -> Pace:
        """So much was there."""
        if self._seen is not None:
            at, before = self._seen
            self.latest = (available - before) / (now - at)
            self.best = max(self.best, self.latest)
        self._seen = now, available
        return self


class Lag:
    """Compares the source of one body with those beside it; the first comparison only takes down how far they are."""

    def __init__(self, source: Offer, beside: Beside, *, leave: Callable[[], None], top: TopLink) -> None:
        """`leave` is told of a source that is slow; one at the `top` counts as one that failed."""
        self._source = source
        self._beside = beside
        self._leave = leave
        self._top = top
        self._others: Sequence[Member] = ()
        self._looks = 0
        self._paces: dict[Address, Pace] = {}

    async def is_slow(self, arrived: int, rate: float) -> bool:
        """Whether the source is, for one who has so many bytes of it, and got so many a second lately."""
        if self._looks % _LOOKS_PER_QUESTION == 0 or not self._others:
            self._others = await self._beside(self._source.content.digest, self._source.member.address)
        self._looks += 1
        ahead = [await self._lead(other, arrived, rate) for other in self._others]
        if not ahead:
            return await self._top.is_limit(arrived)
        is_slow = max(ahead) > 0 and await self._is_nearer_to_us(arrived, max(ahead))
        if is_slow:
            self._leave()
        return is_slow

    async def _lead(self, other: Member, arrived: int, rate: float) -> int:
        """By how much that node is ahead of us, if it is far ahead and was much quicker; else 0."""
        available = await self._available(other)
        pace = self._paces.setdefault(other.address, Pace()).note(_now(), available)
        is_whole = available == self._source.content.size
        is_much_quicker = (pace.best if is_whole else pace.latest) > rate * _MUCH_QUICKER
        return available - arrived if is_much_quicker and available - arrived >= _FAR_BYTES else 0

    async def _is_nearer_to_us(self, arrived: int, lead: int) -> bool:
        """Whether the source has hardly more than we do: else it is our link that is slow, or the one between."""
        return await self._available(self._source.member) - arrived < lead / 2

    async def _available(self, member: Member) -> int:
        try:
            return offer_of(member, await member.find(self._source.content.digest)).available
        except ContentUnavailable:
            return 0


def _now() -> float:
    return asyncio.get_running_loop().time()
