"""Many nodes want the same content at the same time: one fetches it, the others get it from each other meanwhile.

Only ever an optimisation: whatever goes wrong here ends in "look for yourself", within a bound.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.bound import off_the_clock
from registryd.cluster.index.values import Claim
from registryd.cluster.peer import Wait
from registryd.cluster.search import offer_of
from registryd.content.source import ContentUnavailable
from registryd.oci.errors import RangeInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.cluster.index_nodes import IndexNodes, Roster
    from registryd.cluster.member import Member
    from registryd.cluster.search import Offer
    from registryd.content.growing import GrowingContent
    from registryd.content.source import RangeOf
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# One question may wait so long for the first byte. A source that loses power says nothing: it is noticed this long,
# and peers.find_timeout, after that; a source that is alive costs a message a second.
_WAIT_SECONDS: Final = 1.0
# Rounds of being named sources that do not help. Each costs milliseconds when they say so and seconds when they are
# silent; three of them in three rounds are more than a wave loses in its seconds.
_MOST_CLAIMS: Final = 4
# Digests for which it is kept in mind who failed: a node pulls three layers at a time for each image.
_REMEMBERED: Final = 1000
# Larger than any content, so that a range that counts from the end of content whose size is not known yet waits for it.
_ANY_SIZE: Final = 2**62


class Receiving(Protocol):
    """What this node is receiving itself; a store is one (`registryd.content.growing.GrowingSource`)."""

    async def growing(self, digest: Digest) -> GrowingContent:
        """What is here of it. Raises ContentUnavailable."""


class Coalescing:
    """Asks a digest's index nodes who it is to be got from, and follows what they say."""

    def __init__(self, index: IndexNodes, roster: Roster, own: Receiving, *, fetch_wait: float) -> None:
        """`fetch_wait`: how long, in seconds, a request may wait for others who are visibly at work."""
        self._index = index
        self._roster = roster
        self._own = own
        self._fetch_wait = fetch_wait
        self._failed: OrderedDict[Digest, list[Address]] = OrderedDict()

    def failed(self, digest: Digest, address: Address) -> None:
        """This source did not help, or stopped helping: it is reported with the next claim."""
        known = self._failed.setdefault(digest, [])
        if address not in known:
            known.append(address)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)

    async def holders(self, digest: Digest) -> list[Member]:
        """Who has the content or gets it, as far as its index nodes know; this node has no part in it."""
        question = Claim(digest, self._index.own_place(), is_question=True)
        verdict = await self._index.claim(question)
        found = [self._roster.get(address) for address in (verdict.sources if verdict else ())]
        return [member for member in found if member is not None]

    async def offers(self, digest: Digest, wanted: RangeOf) -> AsyncGenerator[Offer, None]:
        """Yield the sources that this node is to get it from, each when it has the first byte that is wanted.

        Ends when this node is the one to look elsewhere, at the origin in the end.
        """
        size = await self._size(digest)
        patience = _Patience(self._fetch_wait)
        for _ in range(_MOST_CLAIMS):
            verdict = await self._index.claim(self._claim(digest, size))
            if verdict is None or not verdict.sources:
                return
            for address in verdict.sources:
                offer = await self._wait_offer(address, _Want(digest, wanted, size), patience)
                if offer is not None:
                    yield offer
                if patience.is_over:
                    return
                self.failed(digest, address)

    def _claim(self, digest: Digest, size: int | None) -> Claim:
        failed = tuple(self._failed.pop(digest, ()))
        return Claim(digest, self._index.own_place(), size, failed)

    async def _size(self, digest: Digest) -> int | None:
        """Containerd begins an ingest, with its size, before it asks anybody for the bytes."""
        try:
            return (await self._own.growing(digest)).size
        except ContentUnavailable:
            return None

    async def _wait_offer(self, address: Address, want: _Want, patience: _Patience) -> Offer | None:
        """What the member offers as soon as it has the byte; None when it does not come to that."""
        member = self._roster.get(address)
        if member is None:
            return None
        with off_the_clock():
            try:
                while not patience.is_over:
                    wait = Wait(min(_WAIT_SECONDS, patience.left), beyond=want.start)
                    offer = offer_of(member, await member.find(want.digest, wait))
                    want.size = offer.content.size
                    if offer.available > want.start or not want.size:
                        return offer
            except ContentUnavailable:
                pass
        return None


@dataclass(slots=True)
class _Want:
    """What is asked for, as far as it is known."""

    digest: Digest
    wanted: RangeOf
    size: int | None

    @property
    def start(self) -> int:
        """The first byte that is wanted."""
        try:
            return self.wanted(_ANY_SIZE if self.size is None else self.size).start
        except RangeInvalid:
            return 0  # whoever opens it will find out


class _Patience:
    """Seconds that a request may wait in all; they begin with the first look at them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    @property
    def left(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._seconds
        return self._until - now

    @property
    def is_over(self) -> bool:
        return self.left <= 0
