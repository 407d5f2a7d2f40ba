"""Asking a digest's index nodes, of which this node may be one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.racing import AllFailed, first_success
from registryd.cluster.index.ring import RendezvousHash
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from registryd.aio.racing import Attempt
    from registryd.cluster.contract.index import Claim, ClaimReply, NodeLocation
    from registryd.cluster.index.desk import IndexState
    from registryd.cluster.index.view import View
    from registryd.cluster.members.member import Member
    from registryd.notation import Address
    from registryd.oci.digest import Digest

    Decide = Callable[[Claim], Awaitable[ClaimReply]]

# The time until the next index node is asked while the one before is silent. The first decides alone, so asking another
# too early may send a second node to the origin. Asking too late costs a pull this much, once: after that the silent
# index node is set aside.
_PATIENCE: Final = 0.5


class Roster(Protocol):
    """The members that may be asked; `registryd.cluster.members.roster.Members` is one."""

    def addresses(self) -> frozenset[Address]:
        """The addresses of the index nodes; the same object until it changes."""

    def get(self, address: Address) -> Member | None:
        """The member there, None if there is none that may be asked."""


class IndexNodes:
    """The index nodes as this node sees them; `own_place` is where it stands itself."""

    def __init__(
        self,
        roster: Roster,
        desk: IndexState,
        *,
        own_place: Callable[[], NodeLocation],
        view: Callable[[], View | None] = lambda: None,
        make_ring: Callable[[frozenset[Address]], RendezvousHash] = RendezvousHash,
    ) -> None:
        """Many nodes in one process can share the rings that `make_ring` gives.

        `view` is this node's view of the members. Only an index node with the same view is believed to know about all.
        """
        self._roster = roster
        self._desk = desk
        self._own_place = own_place
        self._view = view
        self._make_ring = make_ring
        self._ring = RendezvousHash(())
        self._addresses: frozenset[Address] = frozenset()
        self._whole_ring = self._ring

    def own_place(self) -> NodeLocation:
        return self._own_place()

    def of(self, digest: Digest) -> list[Address]:
        """Their addresses, first the one to ask first; this node's own may be among them."""
        addresses, own = self._roster.addresses(), self._own_place().address
        if addresses is not self._addresses or own not in self._ring.addresses:
            self._addresses = addresses
            self._ring = self._make_ring(addresses if own in addresses else addresses | {own})
        return self._ring.index_nodes(digest)

    async def claim(self, claim: Claim) -> ClaimReply | None:
        """The verdict of the first index node that answers; None when none does.

        The verdict has a view only if the view is this node's own, and if the answer comes from the first of all index
        nodes in it. Other nodes have sent their claims to the first one, and the second and third know nothing of them.
        """
        try:
            waves = ((attempt,) for attempt in self._attempts(claim))
            return await first_success(waves, expected=ContentUnavailable, patience=_PATIENCE)
        except AllFailed:
            return None

    def _attempts(self, claim: Claim) -> Iterator[Attempt[ClaimReply]]:
        own = self._own_place().address
        for address in self.of(claim.digest):
            if address == own:
                yield partial(self._ask, address, self._desk.decide, claim)
            elif (member := self._roster.get(address)) is not None:
                yield partial(self._ask, address, member.claim, claim)

    async def _ask(self, address: Address, decide: Decide, claim: Claim) -> ClaimReply:
        verdict = await decide(claim)
        is_believed = verdict.view and self._is_first_of_all(address, claim.digest, verdict.view)
        return verdict if is_believed else replace(verdict, view=0, unheard=())

    def _is_first_of_all(self, address: Address, digest: Digest, view_name: int) -> bool:
        view = self._view()
        if view is None or view.name != view_name:
            return False
        if self._whole_ring.addresses != view.addresses:
            self._whole_ring = self._make_ring(view.addresses)
        return self._whole_ring.index_nodes(digest)[0] == address
