"""Telling index nodes what this node has, and what it no longer has; only in clusters too large to ask everyone."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index.desk import WAVE_SECONDS
from registryd.cluster.index.messages import MAX_ANNOUNCED
from registryd.cluster.index.values import Announcement
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from registryd.cluster.index.values import Place, Receipt
    from registryd.cluster.node import NodeId
    from registryd.content.inventory import Inventory
    from registryd.notation import Address
    from registryd.oci.digest import Digest

_log = logging.getLogger(__name__)

# An image's content comes at once; what follows within this time is told with it.
_BATCH_SECONDS: Final = 0.05
# How often members are compared with those that were told, and what could not be told is tried again. And how long
# after a change there is a second look: containerd's garbage collector takes content away within a second or so after
# its image, without an event before 2.1.
_LOOK_SECONDS: Final = 1.0
# Index nodes that are told at once: an image's digests have some thirty, and a message takes a millisecond.
_AT_ONCE: Final = 16
_WITHDRAW_SECONDS: Final = 2.0


class Listener(Protocol):
    """One who can be told; `registryd.cluster.member.Member` is one."""

    async def announce(self, announcement: Announcement) -> Receipt:
        """Tell it. Raises ContentUnavailable."""


class Listeners(Protocol):
    """Those who can be told; `registryd.cluster.members.Members` are."""

    def addresses(self) -> frozenset[Address]:
        """Where they are; the same object until it changes."""

    def get(self, address: Address) -> Listener | None:
        """Who is there, None if there is nobody who may be told."""


class OwnDesk(Protocol):
    """This node as one who is told; `registryd.cluster.index.desk.IndexDesk` is one."""

    def announce(self, announcement: Announcement) -> Receipt:
        """Take it in."""


class Announcer:
    """Keeps index nodes informed. What one has acknowledged is not repeated, until its process is another one."""

    def __init__(  # noqa: PLR0913 - what it compares and whom it tells, all named
        self,
        inventory: Inventory,
        roster: Listeners,
        desk: OwnDesk,
        *,
        own_place: Callable[[], Place],
        above: int,
        assignment: Assignment | None = None,
    ) -> None:
        """Nothing is announced while there are no more than `above` members: then everyone is asked."""
        self._inventory = inventory
        self._roster = roster
        self._desk = desk
        self._own_place = own_place
        self._above = above
        self._assignment = assignment or Assignment()
        self._members: frozenset[Address] | None = None
        self._told: dict[Address, _Told] = {}
        self._has_changed = False
        self._is_withdrawn = False
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> NoReturn:
        """Announce until cancelled."""
        while True:
            changed = await self._wait()
            if self._is_withdrawn or len(self._roster.addresses()) <= self._above:
                self._members = None  # what changes meanwhile is looked at then
                continue
            with suppress(ContentUnavailable):
                if await self._follow(is_changed=changed) or self._is_due():
                    await self._tell_all()

    async def withdraw(self) -> None:
        """Let nobody be sent here any more; takes two seconds at most."""
        self._is_withdrawn = True
        nothing = Announcement(self._own_place(), is_all=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await _all(partial(self._send, address, nothing) for address in self._told)

    async def _wait(self) -> bool:
        """Until there may be something to tell; whether content may have changed."""
        changed_before, self._has_changed = self._has_changed, False
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._inventory.wait_changed()
        except TimeoutError:
            return changed_before
        self._has_changed = True
        await asyncio.sleep(_BATCH_SECONDS)
        return True

    async def _follow(self, *, is_changed: bool) -> bool:
        """Look at members and content; whether there is anything new in them."""
        members = self._roster.addresses()
        is_first = self._members is None
        are_others = members is not self._members
        if are_others:
            self._members = members
            await self._assignment.follow_members(members | {self._own_place().address})
        if is_first or is_changed:
            await self._assignment.follow_digests(await self._inventory.digests())
        return is_first or is_changed or are_others

    def _is_due(self) -> bool:
        """Whether somebody could not be told the last time, or is to be told again."""
        now = asyncio.get_running_loop().time()
        return any(told.due_at <= now for told in self._told.values())

    async def _tell_all(self) -> None:
        for address in self._told.keys() - (self._members or frozenset()) - {self._own_place().address}:
            del self._told[address]
        addresses = {*self._assignment.addresses(), *self._told}
        await _all(partial(self._tell, address) for address in addresses)

    async def _tell(self, address: Address) -> None:
        wanted = self._assignment.digests_at(address)
        told = self._told.setdefault(address, _Told())
        told.expire()
        for held, dropped in _batches(list(wanted - told.digests), list(told.digests - wanted)):
            receipt = await self._send(address, Announcement(self._own_place(), held, dropped))
            if receipt is None:
                told.put_off()
                return
            told.acknowledge(receipt.by, held, dropped)

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


class _Told:
    """What an index node has acknowledged."""

    def __init__(self) -> None:
        self.digests: set[Digest] = set()
        self.due_at = 0.0
        """When it is to be told again, whatever happens."""
        self._by: NodeId | None = None
        self._renew_at = 0.0

    def expire(self) -> None:
        """Start anew when it is time: not for all nodes at the same time."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self.digests.clear()
            self._renew_at = now + WAVE_SECONDS / 2 * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self.due_at = self._renew_at

    def put_off(self) -> None:
        """It does not answer, or does not know what was told before: the next look is soon enough."""
        self.due_at = asyncio.get_running_loop().time()

    def acknowledge(self, by: NodeId, held: Iterable[Digest], dropped: Iterable[Digest]) -> None:
        if by != self._by:
            self.digests.clear()  # another process, which was told nothing before this
            self._by = by
            self.put_off()
        self.digests.update(held)
        self.digests.difference_update(dropped)


def _batches(held: list[Digest], dropped: list[Digest]) -> Iterable[tuple[Sequence[Digest], Sequence[Digest]]]:
    while held or dropped:
        now_held, held = held[:MAX_ANNOUNCED], held[MAX_ANNOUNCED:]
        room = MAX_ANNOUNCED - len(now_held)
        now_dropped, dropped = dropped[:room], dropped[room:]
        yield now_held, now_dropped


async def _all(jobs: Iterable[Callable[[], object]]) -> None:
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(job(), name="announce")  # type: ignore[arg-type]
