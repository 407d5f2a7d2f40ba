"""Looking at all members at once: how they are, whether we reach them, and whether they reach us."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from registryd.cluster.diagnosis.client import asking
from registryd.cluster.diagnosis.contact import ContactOutcome, contact
from registryd.cluster.diagnosis.values import Examination
from registryd.cluster.errors import PeerFailed, PeerOutdated
from registryd.cluster.members.member import MemberState
from registryd.content.source import ContentUnavailable
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from registryd.cluster.diagnosis.values import NodeReport, Reached
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.roster import Members
    from registryd.content.trial import TrialWords
    from registryd.identity.credentials import ClientCredentials

# Connections under way at once: each costs a handshake of some milliseconds.
_AT_ONCE: Final = 32
# How long all members have to say how they are: people wait for it. A large cluster has more of them than can be asked.
_REPORTS_SECONDS: Final = 2.0
# In a large cluster a sample shows what is wrong as well as all members would.
MOST_EXAMINED: Final = 32
# How many are asked how they are at a look: all of a cluster in which a page shows every member, some of a larger one.
MOST_ASKED: Final = 32
# The number of members asked to hold a trial image before this node holds it itself.
_MOST_REHEARSALS: Final = 3


class Checkup:
    """Examines members as this node sees them."""

    def __init__(
        self,
        members: Members,
        credentials: ClientCredentials,
        *,
        own_address: Callable[[], Address],
        content_port: int,
    ) -> None:
        """`own_address` is where peers find this node's gRPC, `content_port` its bytes door."""
        self._members = members
        self._credentials = credentials
        self.own_address = own_address
        self._content_port = content_port
        self._known: tuple[Examination, ...] = ()

    async def reports(self, *, seconds: float = _REPORTS_SECONDS) -> list[Examination]:
        """All members and their health: one short question to so many of them, and earlier reports of the others.

        A member that did not answer in time is listed without a report.
        """
        until = asyncio.get_running_loop().time() + seconds
        others = self._others()
        # Healthy members first: they answer within milliseconds, while the others take all of the time.
        asked = await _side_by_side(partial(self._ask_until, until), self._next_of(others)[::-1])
        known = {each.address: each for each in self._known}
        known |= {each.address: replace(each, asked_at=time.time()) for each in asked}
        found = [_now_of(member, known.get(member.address)) for member in others]
        self._known = tuple(each for each in found if each.asked_at)
        return found

    def _next_of(self, others: Sequence[Member]) -> list[Member]:
        """The members asked longest ago; at most a quarter of them are failing members, because these take long."""
        if len(others) <= MOST_ASKED:
            return list(others)
        asked_at = {each.address: each.asked_at for each in self._known}
        in_turn = sorted(others, key=lambda member: asked_at.get(member.address, 0.0))
        failing = [member for member in in_turn if not member.is_available][: MOST_ASKED // 4]
        well = [member for member in in_turn if member.is_available][: MOST_ASKED - len(failing)]
        return [*failing, *well]

    async def examine(self) -> list[Examination]:
        """A sample of the members, each port of theirs and of ours tried anew; takes six seconds at most."""
        return await _side_by_side(self._examine, self._others()[:MOST_EXAMINED])

    async def rehearse(self, words: TrialWords) -> Address | None:
        """Have a member hold a trial image; returns this member, or None when no member can."""
        well = [member for member in self._members.available() if member.state is not MemberState.SELF]
        for member in well[:_MOST_REHEARSALS]:
            try:
                async with asking(member.address, self._credentials) as patient:
                    await patient.rehearse(words)
            except ContentUnavailable:
                continue
            return member.address
        return None

    def _others(self) -> list[Member]:
        """The other members, failing ones first, because operators look for these."""
        others = [member for member in self._members.everyone() if member.state is not MemberState.SELF]
        return sorted(others, key=lambda member: (member.is_available, str(member.address)))

    async def _ask_until(self, until: float, member: Member) -> Examination:
        if asyncio.get_running_loop().time() >= until:
            return _of(member, problem="not asked, because there are so many")
        try:
            async with asyncio.timeout_at(until):
                return await self._ask(member)
        except TimeoutError:
            return _of(member, problem="no answer in time")

    async def _ask(self, member: Member) -> Examination:
        report: NodeReport | None = None
        skew: float | None = None
        with _evidence(member) as evidence:
            async with asking(member.address, self._credentials) as patient:
                report, skew = await _timed_report(partial(patient.report, with_view=True))
                member.heard_from(report.node)
        return _of(member, report=report, skew=skew, problem=evidence.problem)

    async def _examine(self, member: Member) -> Examination:
        context = self._credentials.client_context()
        peers = await contact(member.address, context)
        if peers.problem:
            return _of(member, peers_problem=peers.problem, is_stranger=peers.is_stranger, problem=peers.problem)
        report: NodeReport | None = None
        skew: float | None = None
        back: Reached | None = None
        with _evidence(member) as evidence:
            async with asking(member.address, self._credentials) as patient:
                report, skew = await _timed_report(patient.report)
                member.heard_from(report.node)
                back = await patient.reach(self.own_address(), self._content_port)
        door = await self._contact_door(member, report)
        return _of(member, report=report, back=back, skew=skew, problem=evidence.problem, content_problem=door.problem)

    async def _contact_door(self, member: Member, report: NodeReport | None) -> ContactOutcome:
        if report is None or not report.node.content_port:
            return ContactOutcome()
        return await contact(Address(member.address.host, report.node.content_port), None)


class _Evidence:
    """The result of asking a member, which the member is told as well; `problem` is a text for operators, or empty."""

    def __init__(self, member: Member) -> None:
        self.problem = ""
        self._member = member
        self._began = asyncio.get_running_loop().time()

    def failed(self, error: ContentUnavailable) -> None:
        if isinstance(error, PeerFailed):
            self.problem = error.trouble
            self._member.failed(error, asked_at=self._began)
            return
        self.problem = "runs a registryd that is too old to say" if isinstance(error, PeerOutdated) else str(error)
        self._member.answered()


@contextmanager
def _evidence(member: Member) -> Iterator[_Evidence]:
    evidence = _Evidence(member)
    try:
        yield evidence
    except ContentUnavailable as error:
        evidence.failed(error)


async def _side_by_side(
    look: Callable[[Member], Coroutine[Any, Any, Examination]], members: Sequence[Member]
) -> list[Examination]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look_in_turn(member: Member) -> Examination:
        async with slots:
            return await look(member)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(look_in_turn(member), name=f"look at {member.address}") for member in members]
    return [task.result() for task in tasks]


async def _timed_report(ask: Callable[[], Coroutine[Any, Any, NodeReport]]) -> tuple[NodeReport, float]:
    """A report, and by how much the clock of its node is ahead: it was read half-way between question and answer."""
    began, wall = asyncio.get_running_loop().time(), time.time()
    report = await ask()
    travelled = asyncio.get_running_loop().time() - began
    return report, report.vitals.time - (wall + travelled / 2)


def _now_of(member: Member, known: Examination | None) -> Examination:
    """The member's report, and its state at this node now."""
    if known is None:
        return _of(member)
    return replace(known, state=member.state.value, since=member.since, reason=member.trouble or "")


def _of(member: Member, **found: Any) -> Examination:
    reason = member.trouble or ""
    return Examination(address=member.address, state=member.state.value, since=member.since, reason=reason, **found)
