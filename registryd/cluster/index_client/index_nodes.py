"""Asking a digest's index nodes, of which this node may be one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio import clock
from registryd.aio.bound import off_the_clock
from registryd.aio.expiring import ExpiringSet
from registryd.aio.racing import AllFailed, first_success
from registryd.cluster.index.ring import RendezvousHash
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

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
# index node is set aside. One that still accepts connections may be answering other nodes: see `queue`.
_PATIENCE: Final = 0.5

# How long one that has not answered after the time of a queue is not waited for as if it had one.
_HANGING_SECONDS: Final = 30.0
_REMEMBERED: Final = 1000


async def _is_nowhere(_: Address) -> bool:
    return False


async def _until_ended(attempt: Attempt[ClaimReply], ended: asyncio.Event) -> ClaimReply:
    try:
        return await attempt()
    finally:
        ended.set()


class Roster(Protocol):
    """The members that may be asked; `registryd.cluster.members.roster.Members` is one."""

    def addresses(self) -> frozenset[Address]:
        """The addresses of the index nodes; the same object until it changes."""

    def get(self, address: Address) -> Member | None:
        """The member there, None if there is none that may be asked."""


class IndexNodes:
    """The index nodes as this node sees them; `own_place` is where it stands itself."""

    def __init__(  # noqa: PLR0913 - what it asks, and what for, all named
        self,
        roster: Roster,
        desk: IndexState,
        *,
        own_place: Callable[[], NodeLocation],
        view: Callable[[], View | None] = lambda: None,
        make_ring: Callable[[frozenset[Address]], RendezvousHash] = RendezvousHash,
        queue: Callable[[], float] = lambda: 0.0,
        is_there: Callable[[Address], Awaitable[bool]] = _is_nowhere,
    ) -> None:
        """Many nodes in one process can share the rings that `make_ring` gives.

        `view` is this node's view of the members. Only an index node with the same view is believed to know about all.
        `queue` says how many seconds a claim waits for silent index nodes in all, as long as each `is_there`: the other
        nodes may be asking them, too.
        """
        self._roster = roster
        self._desk = desk
        self._own_place = own_place
        self._view = view
        self._make_ring = make_ring
        self._queue = queue
        self._is_there = is_there
        self._hanging: ExpiringSet[Address] = ExpiringSet(lifetime=_HANGING_SECONDS, capacity=_REMEMBERED)
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
            return await first_success(self._waves(claim), expected=ContentUnavailable, patience=_PATIENCE)
        except AllFailed:
            return None

    async def _waves(self, claim: Claim) -> AsyncGenerator[Sequence[Attempt[ClaimReply]], None]:
        """One index node after the other: the next one when the one before failed, or is silent and in no queue."""
        until = clock.now() + _PATIENCE + self._queue()
        before: tuple[Address, asyncio.Event] | None = None
        for address, attempt in self._attempts(claim):
            if before is not None:
                await self._let_queue(*before, until=until)
            ended = asyncio.Event()
            yield (partial(_until_ended, attempt, ended),)
            before = address, ended

    async def _let_queue(self, address: Address, ended: asyncio.Event, *, until: float) -> None:
        """Wait for this index node, which is silent or has failed, if many nodes may be asking it."""
        if self._queue() < _PATIENCE or ended.is_set() or address in self._hanging or clock.now() >= until:
            return
        if not await self._is_there(address):
            return
        with off_the_clock():
            try:
                async with asyncio.timeout_at(until):
                    await ended.wait()
            except TimeoutError:
                self._hanging.add(address)

    def _attempts(self, claim: Claim) -> Iterator[tuple[Address, Attempt[ClaimReply]]]:
        own = self._own_place().address
        for address in self.of(claim.digest):
            if address == own:
                yield address, partial(self._ask, address, self._desk.decide, claim)
            elif (member := self._roster.get(address)) is not None:
                yield address, partial(self._ask, address, member.claim, claim)

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
