"""How much nodes have of everything that is coming to this node at the same time: the layers of an image, mostly.

Streams that share a link share it unevenly, and for long: of three layers one may get a tenth of what another gets. So
how quickly one content comes to a node says little about the node, and how quickly all of them do says enough.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.cluster.members.offer import offer_of
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Total:
    """The bytes that a node had at a moment of the event loop's clock, from the beginning of each content.

    `arrived` are all bytes that had come to this node by then; `uploads` is the number of bodies that the other node
    was sending, 0 if it does not say.
    """

    at: float
    available: Mapping[Digest, int]
    arrived: int = 0
    uploads: int = 0

    def gained_since(self, before: Total) -> int:
        """Bytes, of what was looked at both times."""
        both = self.available.keys() & before.available.keys()
        return sum(self.available[digest] - before.available[digest] for digest in both)

    def rate_since(self, before: Total) -> float:
        """The same in bytes a second."""
        return self.gained_since(before) / (self.at - before.at)

    def passed_on_since(self, before: Total, *, gets: float, own_rate: float) -> float:
        """The rate at which the other node gets everything, or gives it if that is less, in bytes a second.

        It `gets` so much, and this node gets `own_rate` of one content from it. It gives the rate of all bytes to this
        node, or the rate of that content times all bodies that it is sending: a node with many followers gives each of
        them little. A node that does not say how many bodies it is sending is judged by what it gets.
        """
        if not self.uploads:
            return gets
        arrived = (self.arrived - before.arrived) / (self.at - before.at)
        return min(gets, max(own_rate * self.uploads, arrived))


class Totals:
    """Asks nodes for what they have of the contents that `receiving` names; `arrived` is all that has come here."""

    def __init__(self, receiving: Callable[[], Collection[Sought]], arrived: Callable[[], int] = lambda: 0) -> None:
        self._receiving = receiving
        self.arrived = arrived

    @property
    def are_of_one(self) -> bool:
        """Whether only one content is coming: then its own rate says all."""
        return len(self._receiving()) <= 1

    def at_least(self, digest: Digest, count: int) -> Total:
        """What a node has now of which only that much is known."""
        return Total(asyncio.get_running_loop().time(), {digest: count}, self.arrived())

    async def of(self, member: Member) -> Total:
        contents = tuple(self._receiving())
        offers = await asyncio.gather(*(_offered(member, sought) for sought in contents))
        found = {sought.digest: offer.available if offer else 0 for sought, offer in zip(contents, offers, strict=True)}
        uploads = max((offer.uploads for offer in offers if offer), default=0)
        return Total(asyncio.get_running_loop().time(), found, self.arrived(), uploads)


async def available(member: Member, sought: Sought) -> int:
    """How many bytes of it from the beginning the member has; 0 when it has none, or says nothing."""
    offer = await _offered(member, sought)
    return offer.available if offer else 0


async def _offered(member: Member, sought: Sought) -> Offer | None:
    try:
        return offer_of(member, sought, await member.find(sought))
    except ContentUnavailable:
        return None
