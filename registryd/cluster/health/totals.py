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
    from registryd.content.sought import Sought
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Total:
    """What a node had at a moment of the event loop's clock: bytes from the beginning of each content."""

    at: float
    available: Mapping[Digest, int]

    def gained_since(self, before: Total) -> int:
        """Bytes, of what was looked at both times."""
        both = self.available.keys() & before.available.keys()
        return sum(self.available[digest] - before.available[digest] for digest in both)

    def rate_since(self, before: Total) -> float:
        """The same in bytes a second."""
        return self.gained_since(before) / (self.at - before.at)


class Totals:
    """Asks nodes for what they have of the contents that `receiving` names."""

    def __init__(self, receiving: Callable[[], Collection[Sought]]) -> None:
        self._receiving = receiving

    @property
    def are_of_one(self) -> bool:
        """Whether only one content is coming: then its own rate says all."""
        return len(self._receiving()) <= 1

    async def of(self, member: Member) -> Total:
        contents = tuple(self._receiving())
        found = await asyncio.gather(*(available(member, sought) for sought in contents))
        digests = (sought.digest for sought in contents)
        return Total(asyncio.get_running_loop().time(), dict(zip(digests, found, strict=True)))


async def available(member: Member, sought: Sought) -> int:
    """How many bytes of it from the beginning the member has; 0 when it has none, or says nothing."""
    try:
        return offer_of(member, sought, await member.find(sought)).available
    except ContentUnavailable:
        return 0
