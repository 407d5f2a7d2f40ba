"""Which nodes keep an image, which have it, and which comes next: as the index nodes and the members say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.index.ring import RendezvousHash
from registryd.cluster.index.wave import SEVERAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from registryd.cluster.contract.index import ClaimReply
    from registryd.config.keeping import Wanted
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# No node is in it: those of all zones are named.
_NO_ZONE: Final = "-"
# Zones are counted anew when members change, and as often as this: discovery may tell a member's zone after the member.
_ZONES_SECONDS: Final = 30.0


class Asking(Protocol):
    """The index nodes; `registryd.cluster.index_client.index_nodes.IndexNodes`."""

    async def claim(self, claim: Claim) -> ClaimReply | None:
        """The answer of the first index node that answers; None: none answers."""


@dataclass(frozen=True, slots=True)
class CopyStanding:
    """Whether there are enough copies. `stay`: the nodes that go on if there are too many. `first`: the acting node."""

    is_enough: bool
    first: Address
    stay: frozenset[Address]
    lacks_zone: bool


class Census:
    """As this node sees it. `own_address` is where others find it, `zone_of` gives the zone of a member, if known."""

    def __init__(
        self,
        asking: Asking,
        members: Callable[[], frozenset[Address]],
        own_address: Callable[[], Address],
        zone_of: Callable[[Address], str] = lambda _: "",
        *,
        make_ring: Callable[[frozenset[Address]], RendezvousHash] = RendezvousHash,
    ) -> None:
        """`members`: where those are that may be asked; the same object until it changes.

        Many nodes in one process can share the rings that `make_ring` gives.
        """
        self._make_ring = make_ring
        self._asking = asking
        self._members = members
        self._own_address = own_address
        self._zone_of = zone_of
        self._ring = RendezvousHash(())
        self._seen: tuple[frozenset[Address], Address] | None = None
        self._zones, self._zones_until = 0, 0.0

    @property
    def own_address(self) -> Address:
        return self._own_address()

    async def who_tell(self, digest: Digest) -> frozenset[Address] | None:
        """The other members that announced the key and answer, twelve at most; None: that cannot be said."""
        claim = Claim(digest, NodeLocation(self.own_address, _NO_ZONE), is_question=True, places=SEVERAL)
        verdict = await self._asking.claim(claim)
        if verdict is None or (verdict.is_new and self._members()):
            return None
        # Without a set of all members: there may be 5,000, and this is asked twice a minute for each image.
        members, own = self._members(), self.own_address
        return frozenset(each for each in verdict.sources if each in members and each != own)

    def standing(self, key: Digest, keepers: Collection[Address], wanted: Wanted) -> CopyStanding:
        """The standing among the nodes that keep the image, perhaps with this node; there is at least one."""
        ring = self._refreshed()
        ranked = ring.ranked(key, keepers)
        zones = {self._zone_of(each) for each in keepers} - {""}
        # One zone is where any copy is, whether its name is known or not.
        lacks_zone = wanted.zones > 1 and len(zones) < min(wanted.zones, self._count_zones(ring))
        stay = self._staying(ranked, wanted)
        return CopyStanding(len(ranked) >= wanted.copies and not lacks_zone, ranked[0], stay, lacks_zone)

    def next_after(self, key: Digest, keepers: Collection[Address]) -> Iterator[Address]:
        """All other members, in the order in which they are to get the image; ranked when the first is taken."""
        own = self.own_address
        for each in self._refreshed().all_ranked(key):
            if each != own and each not in keepers:
                yield each

    def next_in_new_zone(self, key: Digest, keepers: Collection[Address]) -> Iterator[Address]:
        """Those of them in zones that no keeper is in."""
        zones = {self._zone_of(each) for each in keepers} | {""}
        return (each for each in self.next_after(key, keepers) if self._zone_of(each) not in zones)

    def in_line(self, key: Digest, among: Iterable[Address]) -> Sequence[Address]:
        """These, in that order."""
        return self._refreshed().ranked(key, among)

    def is_new_zone(self, address: Address, keepers: Iterable[Address]) -> bool:
        zone = self._zone_of(address)
        return bool(zone) and zone not in {self._zone_of(each) for each in keepers}

    def place_in_line(self, key: Digest) -> tuple[int, int]:
        """How many members come before this one for that image, and how many there are."""
        ring = self._refreshed()
        return ring.position(self.own_address, key), len(ring.addresses)

    def _count_zones(self, ring: RendezvousHash) -> int:
        now = asyncio.get_running_loop().time()
        if now >= self._zones_until:
            self._zones_until = now + _ZONES_SECONDS
            self._zones = len({self._zone_of(each) for each in ring.addresses} - {""})
        return self._zones

    def _staying(self, ranked: Sequence[Address], wanted: Wanted) -> frozenset[Address]:
        """The first ones, as many as are wanted, of as many zones as are wanted."""
        stay: list[Address] = []
        zones: set[str] = set()
        there = {self._zone_of(each) for each in ranked} - {""}
        for each in ranked:
            zone = self._zone_of(each)
            missing = min(wanted.zones, len(there)) - len(zones)
            is_new = bool(zone) and zone not in zones
            if len(stay) < wanted.copies - (0 if is_new else max(0, missing)):
                stay.append(each)
                zones |= {zone} - {""}
        return frozenset(stay)

    def _refreshed(self) -> RendezvousHash:
        seen = self._members(), self.own_address
        if self._seen is None or seen[0] is not self._seen[0] or seen[1] != self._seen[1]:
            self._seen, self._ring = seen, self._make_ring(seen[0] if seen[1] in seen[0] else seen[0] | {seen[1]})
            self._zones_until = 0.0
        return self._ring
