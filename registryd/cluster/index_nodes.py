"""Asking a digest's index nodes, of which this node may be one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.racing import AllFailed, first_success
from registryd.cluster.index.ring import Ring
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.aio.race import Attempt
    from registryd.cluster.index.desk import IndexDesk
    from registryd.cluster.index.values import Claim, Place, Verdict
    from registryd.cluster.member import Member
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# Until the next index node is asked while the one before says nothing. It decides alone, so asking another too early
# may send a second node to the origin, and too late costs a pull this much, once: after that it is set aside.
_PATIENCE: Final = 0.5


class Roster(Protocol):
    """The members that may be asked; `registryd.cluster.members.Members` is one."""

    def addresses(self) -> frozenset[Address]:
        """Where they are; the same object until it changes."""

    def get(self, address: Address) -> Member | None:
        """The member there, None if there is none that may be asked."""


class IndexNodes:
    """The index nodes as this node sees them; `own_place` is where it stands itself."""

    def __init__(
        self,
        roster: Roster,
        desk: IndexDesk,
        *,
        own_place: Callable[[], Place],
        make_ring: Callable[[frozenset[Address]], Ring] = Ring,
    ) -> None:
        """Many nodes in one process can share the rings that `make_ring` gives."""
        self._roster = roster
        self._desk = desk
        self._own_place = own_place
        self._make_ring = make_ring
        self._ring = Ring(())
        self._addresses: frozenset[Address] = frozenset()

    def own_place(self) -> Place:
        return self._own_place()

    def of(self, digest: Digest) -> list[Address]:
        """Their addresses, first the one to ask first; this node's own may be among them."""
        addresses, own = self._roster.addresses(), self._own_place().address
        if addresses is not self._addresses or own not in self._ring.addresses:
            self._addresses = addresses
            self._ring = self._make_ring(addresses if own in addresses else addresses | {own})
        return self._ring.index_nodes(digest)

    async def claim(self, claim: Claim) -> Verdict | None:
        """The verdict of the first that answers; None when none does."""
        try:
            waves = ((attempt,) for attempt in self._attempts(claim))
            return await first_success(waves, expected=ContentUnavailable, patience=_PATIENCE)
        except AllFailed:
            return None

    def _attempts(self, claim: Claim) -> Iterator[Attempt[Verdict]]:
        own = self._own_place().address
        for address in self.of(claim.digest):
            if address == own:
                yield partial(self._decide, claim)
            elif (member := self._roster.get(address)) is not None:
                yield partial(member.claim, claim)

    async def _decide(self, claim: Claim) -> Verdict:
        return await self._desk.decide(claim)
