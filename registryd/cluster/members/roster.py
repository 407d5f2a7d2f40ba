"""The set of peers: it follows discovery, and looks after peers that do not answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet
from registryd.aio.scope import Scope, open_scope, run_to_end
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.members.member import Member, MemberState
from registryd.observability.metrics import PeerState, PeerTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from registryd.aio.backoff import Backoff
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.contract.peer import Peer
    from registryd.cluster.members.discovery.contract import Discovery
    from registryd.notation import Address

    Connect = Callable[[Address], Peer]
    Report = Callable[[Mapping[PeerState, int], Mapping[PeerTrouble, int]], None]

_log = logging.getLogger(__name__)

# Probes under way at once: connecting ten channels takes 5 to 8 ms of the loop, requests are not to wait behind that.
_PROBES_AT_ONCE: Final = 8
# A peer that reaches us and cannot be reached asks us things all the time; it is tried this often.
_WAKE_SECONDS: Final = 1.0
_WOKEN_REMEMBERED: Final = 1000


class Members:
    """The peers that can be asked. `run` keeps the set up to date; before it runs, the set is empty.

    A member that fails is set aside at once and probed in the background until it answers; no request waits for it.
    """

    def __init__(
        self,
        own_id: NodeId,
        connect: Connect,
        *,
        backoff: Backoff,
        greet_limit: int,
        report: Report = lambda _states, _troubles: None,
    ) -> None:
        """`connect` makes the peers; `report` is told the number of peers after each change.

        `report` gets the number for each state, and for peers that are set aside the number for each reason.

        The roster greets newly discovered peers. The greeting connects a peer, and finds out which address is this node
        itself. With more than `greet_limit` peers there is no greeting: the first question connects each peer.
        """
        self._own_id = own_id
        self._connect = connect
        self._backoff = backoff
        self._greet_limit = greet_limit
        self._report = report
        self._members: dict[Address, Member] = {}
        self._care: dict[Address, asyncio.Task[object]] = {}
        self._probe_slots = asyncio.Semaphore(_PROBES_AT_ONCE)
        self._scope: Scope | None = None
        # Both are asked for with every question, in a cluster of any size.
        self._own: Address | None = None
        self._set_aside: set[Address] = set()
        self._addresses: frozenset[Address] | None = None
        self._discovered: frozenset[Address] = frozenset()
        self._woken: ExpiringSet[Address] = ExpiringSet(lifetime=_WAKE_SECONDS, capacity=_WOKEN_REMEMBERED)

    # Asking

    def available(self) -> list[Member]:
        """The peers that may be asked, in random order; peers that have answered before come first."""
        available = [member for member in self._members.values() if member.is_available]
        random.shuffle(available)
        return sorted(available, key=lambda member: member.state is not MemberState.UP)

    def addresses(self) -> frozenset[Address]:
        """The addresses of members that may be asked; the same object until it changes."""
        if self._addresses is None:
            self._addresses = frozenset(address for address, member in self._members.items() if member.is_available)
        return self._addresses

    def discovered(self) -> frozenset[Address]:
        """The addresses of all members, whether they may be asked or not; the same object until it changes."""
        return self._discovered

    def get(self, address: Address) -> Member | None:
        """The member at an address, if it may be asked."""
        member = self._members.get(address)
        return member if member is not None and member.is_available else None

    def own_address(self) -> Address | None:
        """The address that turned out to be this node's own, if discovery gives it."""
        return self._own

    def sign_of_life(self, host: str) -> None:
        """Note that a peer asks this node: if the peer was set aside, find out at once whether it answers again."""
        for address in tuple(self._set_aside):
            if address.host == host and self._may_wake(address):
                self._stop_care(self._members[address])
                self._look_after(self._members[address], at_once=True)

    async def content_port_of(self, address: Address) -> int | None:
        """The address of the member's bytes door, as the member says; None without a member, or without an answer."""
        member = self._members.get(address)
        if member is None:
            return None
        await member.probe()
        return member.content_port

    def everyone(self) -> list[Member]:
        """All members, in whatever state."""
        return list(self._members.values())

    def states(self) -> Mapping[Address, MemberState]:
        """All members with their states now, for operators."""
        return {address: member.state for address, member in self._members.items()}

    # Life

    async def run(self, discovery: Discovery) -> None:
        """Follow discovery until cancelled; then close all connections."""
        try:
            async with open_scope() as self._scope, aclosing(discovery.watch()) as changes:
                async for addresses in changes:
                    await self._replace(addresses)
        finally:
            self._scope = None
            await self._replace(frozenset())

    async def _replace(self, addresses: frozenset[Address]) -> None:
        gone = [self._members.pop(address) for address in self._members.keys() - addresses]
        added = [self._add(address) for address in addresses - self._members.keys()]
        self._addresses = None
        if addresses != self._discovered:
            self._discovered = addresses
        self._set_aside &= addresses
        if self._own not in addresses:
            self._own = None
        if len(addresses) <= self._greet_limit:
            for member in added:
                self._look_after(member)
        self._report_states()
        for member in gone:
            self._stop_care(member)
        await run_to_end(_close_all(gone), name="close peers")

    def _add(self, address: Address) -> Member:
        member = Member(
            address,
            self._connect(address),
            own_id=self._own_id,
            on_change=self._changed,
            on_doubt=self._see,
        )
        self._members[address] = member
        return member

    # Looking after those that failed

    def _changed(self, member: Member) -> None:
        if self._members.get(member.address) is not member:
            return  # removed while it was being asked
        if self._addresses is not None and (member.address in self._addresses) != member.is_available:
            self._addresses = None
        self._set_aside.discard(member.address)
        if member.state is MemberState.SELF:
            self._own = member.address
        elif self._own == member.address:
            self._own = None
        if member.state is MemberState.SET_ASIDE:
            self._set_aside.add(member.address)
            _log.info("peer %s is set aside: %s", member.address, member.trouble)
            self._look_after(member)
        elif member.failures:
            _log.info("peer %s answers again", member.address)
        self._report_states()

    def _look_after(self, member: Member, *, at_once: bool = False) -> None:
        if self._scope is None or self._is_cared_for(member):
            return
        probing = partial(self._probe_until_known, member, at_once=at_once)
        task = self._scope.run(probing, name=f"probe {member.address}")
        self._care[member.address] = task
        task.add_done_callback(partial(self._forget_care, member.address))

    async def _probe_until_known(self, member: Member, *, at_once: bool) -> None:
        # A peer that has just asked this node is alive, whatever was before. A connection that gRPC has not yet tried
        # anew fails by its last reason, and the next try must not wait for as long as for a dead peer.
        failures = 1 if at_once else member.failures
        while member.state in {MemberState.UNKNOWN, MemberState.SET_ASIDE}:
            try:
                if failures and not at_once:
                    await asyncio.sleep(self._backoff.delay(failures))
                at_once = False
                async with self._probe_slots:
                    await member.probe()
            except Exception as error:  # noqa: BLE001 - else it would never be asked again
                note_unexpected(f"probing {member.address}", error)
            failures += 1

    def _see(self, member: Member) -> None:
        """See soon whether a member is still there that was well until now."""
        if self._scope is not None and not self._is_cared_for(member) and self._may_wake(member.address):
            self._scope.run(partial(member.probe, again=True), name=f"see {member.address}")

    def _may_wake(self, address: Address) -> bool:
        is_due = address not in self._woken
        if is_due:
            self._woken.add(address)
        return is_due

    def _is_cared_for(self, member: Member) -> bool:
        """A task that has ended looks after nobody; the loop calls `_forget_care` only after what is due already."""
        care = self._care.get(member.address)
        return care is not None and not care.done()

    def _forget_care(self, address: Address, task: asyncio.Task[object]) -> None:
        if self._care.get(address) is task:
            del self._care[address]

    def _stop_care(self, member: Member) -> None:
        task = self._care.pop(member.address, None)
        if task is not None:
            task.cancel()

    def _report_states(self) -> None:
        states = Counter(member.state for member in self._members.values())
        troubles = Counter(self._members[address].trouble for address in self._set_aside)
        self._report(
            {
                PeerState.AVAILABLE: states[MemberState.UNKNOWN] + states[MemberState.UP],
                PeerState.SET_ASIDE: states[MemberState.SET_ASIDE],
            },
            {trouble: count for trouble, count in troubles.items() if trouble is not None},
        )


async def _close_all(members: Iterable[Member]) -> None:
    for member in members:
        await member.aclose()
