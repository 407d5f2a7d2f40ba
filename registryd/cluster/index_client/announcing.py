"""Announcing to index nodes what this node has, what it is getting, and what it no longer has.

In clusters in which a node can ask all members, announcements also say when an index node knows everything about this
node. Then a claimant that asks the right index node need not ask the other members.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.cluster.contract.index import Announcement
from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index_client.told import AnnouncedState, DesiredState
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from registryd.cluster.contract.index import NodeLocation, Receipt
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.index.view import View
    from registryd.cluster.index_client.told import Batch
    from registryd.content.inventory import Inventory, Stock
    from registryd.notation import Address

_log = logging.getLogger(__name__)

# An image's content comes at once; what follows within this time is told with it.
_BATCH_SECONDS: Final = 0.05
# How often the announcer compares the members with the index nodes that were told, and repeats failed announcements.
# Also how long after a change there is a second look: containerd's garbage collector removes content within a second or
# so after its image, before 2.1 without an event where the agent does not read its files.
_LOOK_SECONDS: Final = 1.0
# Index nodes that are told at once: an image's digests have some thirty, and a message takes a millisecond.
_AT_ONCE: Final = 16
_WITHDRAW_SECONDS: Final = 2.0
# The first answer of a process says which one it is; only then can it be told that it knows everything.
_ROUNDS: Final = 2


class Listener(Protocol):
    """A receiver of announcements; `registryd.cluster.members.member.Member` is one."""

    async def announce(self, announcement: Announcement) -> Receipt:
        """Tell it. Raises ContentUnavailable."""


class Listeners(Protocol):
    """The receivers of announcements; `registryd.cluster.members.roster.Members` are such."""

    def addresses(self) -> frozenset[Address]:
        """The addresses of the receivers; the same object until it changes."""

    def get(self, address: Address) -> Listener | None:
        """The receiver at this address; None if there is none that may be told."""


class RenewedSpeakers(Protocol):
    """The nodes that have announced to this node; `registryd.cluster.index.books.Books` knows them."""

    def take_renewed(self) -> Collection[Address]:
        """The addresses where another process spoke than before, since the last call."""

    def process_of(self, address: Address) -> NodeId | None:
        """Which process spoke there last."""


class OwnDesk(Protocol):
    """This node as a receiver of its own announcements; `registryd.cluster.index.desk.IndexState` is one."""

    @property
    def books(self) -> RenewedSpeakers: ...

    def announce(self, announcement: Announcement) -> Receipt:
        """Take it in."""


class Announcer:
    """Keeps index nodes informed. Acknowledged content is not repeated until the index node is another process."""

    def __init__(  # noqa: PLR0913 - what it compares and whom it tells, all named
        self,
        inventory: Inventory,
        roster: Listeners,
        desk: OwnDesk,
        *,
        own_id: NodeId,
        own_place: Callable[[], NodeLocation],
        view: Callable[[], View | None],
        assignment: Assignment | None = None,
        gives_stripes: Callable[[], bool] = lambda: False,
    ) -> None:
        """While `view` gives one, its members are told when they know everything, and what is arriving here."""
        self._inventory = inventory
        self._roster = roster
        self._desk = desk
        self._own_id = own_id
        self._own_place = own_place
        self._current_view = view
        self._gives_stripes = gives_stripes
        self._assignment = assignment or Assignment()
        self._members: frozenset[Address] | None = None
        self._view: View | None = None
        self._own: Address | None = None
        self._stock: Stock | None = None
        self._told: dict[Address, AnnouncedState] = {}
        self._has_changed = False
        self._is_withdrawn = False
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._telling: set[Address] = set()
        """Index nodes that are being told."""
        self._to_tell_again: set[Address] = set()
        """Those of them for which there is news meanwhile."""

    async def run(self) -> NoReturn:
        """Announce until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                changed = await self._wait()
                if self._is_withdrawn or self._is_alone():
                    self._stock = None
                    continue
                with suppress(ContentUnavailable):
                    if await self._follow(is_changed=changed) or self._is_due():
                        self._tell_all(group)

    async def withdraw(self) -> None:
        """Ask the index nodes to name this node no more; takes two seconds at most."""
        self._is_withdrawn = True
        nothing = Announcement(self._own_place(), is_all=True, process=self._own_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await _all(partial(self._send, address, nothing) for address in self._told)

    async def _wait(self) -> bool:
        """Wait until there may be news to tell; returns whether content may have changed."""
        changed_before, self._has_changed = self._has_changed, False
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._inventory.wait_changed()
        except TimeoutError:
            return changed_before
        self._has_changed = True
        await asyncio.sleep(_BATCH_SECONDS)
        return True

    def _is_alone(self) -> bool:
        return not self._roster.addresses() - {self._own_place().address}

    # What there is to tell

    async def _follow(self, *, is_changed: bool) -> bool:
        """Look at members and content; whether there is anything new in them."""
        members, view = self._roster.addresses(), self._current_view()
        is_first = self._stock is None
        are_others = members is not self._members or view is not self._view
        if are_others:
            await self._follow_members(members, view)
        if is_first or is_changed:
            await self._take_stock()
        return is_first or is_changed or are_others or self._has_forgotten()

    async def _follow_members(self, members: frozenset[Address], view: View | None) -> None:
        self._members, self._view = members, view
        own = self._own_place().address
        if own != self._own:
            self._own = own
            self._told.clear()  # what was told is known under a name that is not this node's any more
        await self._assignment.follow_members(members | {own})
        if self._stock is not None:
            await self._assign(self._stock)

    async def _take_stock(self) -> None:
        self._stock = None  # if it cannot be said now, it is to be said at the next look
        self._stock = await self._inventory.stock()
        await self._assign(self._stock)

    async def _assign(self, stock: Stock) -> None:
        await self._assignment.follow_digests(stock.held | stock.arriving if self._view else stock.held)

    def _has_forgotten(self) -> bool:
        """Whether another process has begun to announce at an address that had been told before."""
        renewed = [address for address in self._desk.books.take_renewed() if address in self._told]
        for address in renewed:
            if self._told[address].by != self._desk.books.process_of(address):
                del self._told[address]
        return bool(renewed)

    def _is_due(self) -> bool:
        """Whether an index node could not be told the last time, or is to be told again."""
        now = asyncio.get_running_loop().time()
        return any(told.due_at <= now for told in self._told.values())

    def _wanted(self, address: Address) -> DesiredState:
        assigned, stock, view = self._assignment.digests_at(address), self._stock, self._view
        if stock is None or view is None:
            return DesiredState(assigned)
        arriving = (assigned & stock.arriving) - stock.held
        return DesiredState(assigned - arriving, arriving, view.name, stock.is_complete)

    # Telling it

    def _tell_all(self, group: asyncio.TaskGroup) -> None:
        """Tell every index node what it is to know: none waits for another one, which may take long to answer."""
        everyone = {self._own_place().address, *(self._members or ())}
        for address in self._told.keys() - everyone:
            del self._told[address]
        addresses = {*self._assignment.addresses(), *self._told, *(everyone if self._view else ())}
        for address in addresses:
            if address in self._telling:
                self._to_tell_again.add(address)
            else:
                self._telling.add(address)
                group.create_task(self._keep_telling(address), name="announce")

    async def _keep_telling(self, address: Address) -> None:
        try:
            await self._tell(address)
            while address in self._to_tell_again:
                self._to_tell_again.discard(address)
                await self._tell(address)
        finally:
            self._telling.discard(address)

    async def _tell(self, address: Address) -> None:
        wanted = self._wanted(address)
        told = self._told.setdefault(address, AnnouncedState())
        told.expire()
        for _ in range(_ROUNDS):
            for batch in told.missing(wanted):
                if self._is_withdrawn:
                    return
                complete_at = told.by if wanted.is_complete and batch.is_last else None
                receipt = await self._send(address, self._announcement(batch, wanted.view, complete_at))
                if receipt is None:
                    told.put_off()
                    return
                is_complete = complete_at is not None and complete_at == receipt.by
                told.acknowledge(receipt.by, batch, (wanted.view, is_complete))

    def _announcement(self, batch: Batch, view: int, complete_at: NodeId | None) -> Announcement:
        return Announcement(
            self._own_place(),
            batch.held,
            batch.dropped,
            arriving=batch.arriving,
            process=self._own_id,
            view=view,
            complete_at=complete_at,
            gives_stripes=self._gives_stripes(),
        )

    async def _send(self, address: Address, announcement: Announcement) -> Receipt | None:
        if address == self._own_place().address:
            return self._desk.announce(announcement)
        member = self._roster.get(address)
        if member is None:
            return None
        try:
            async with self._slots:
                return await member.announce(announcement)
        except ContentUnavailable as reason:
            _log.debug("%s is not told what is here: %s", address, reason)
            return None


async def _all(jobs: Iterable[Callable[[], object]]) -> None:
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(job(), name="announce")  # type: ignore[arg-type]
