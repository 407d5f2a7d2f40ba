"""Who is asked after an index node has named nobody, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.racing import AllFailed
from registryd.cluster.contract.index import ClaimReply
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.fetch.fallback import Doubts
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.outcome import refusal
from registryd.cluster.members.member import Member
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.content.source import Content, ContentNotFound
from registryd.notation import Address
from registryd.observability.metrics import FindOutcome
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from tests.fakes.entitled import said, sought
from tests.fakes.peers import FindRecord

if TYPE_CHECKING:
    from registryd.cluster.contract.peer import Wait
    from registryd.cluster.fetch.fallback import FallbackMembers
    from registryd.content.sought import Sought
    from registryd.content.source import RangeOf

pytestmark = pytest.mark.looptime

DIGEST = Digest.of(b"")
OTHER = Digest.of(b"other")
NODE = Node(NodeId("n"), 0)
DOUBT_SECONDS = 600


def address(number: int) -> Address:
    return Address("10.0.0.1", number)


@dataclass
class Holder:
    """A member that has it or does not."""

    number: int
    has_it: bool = False
    is_receiving: bool = False
    asked: int = 0

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        assert wait is None
        self.asked += 1
        whole = Content(wanted.digest, 2, None)
        content = GrowingContent(wanted.digest, 2, None, 1) if self.is_receiving else whole
        return FindAnswer(NODE, said(content) if self.has_it else None, busy=False)


@dataclass
class Told:
    """Index nodes that say the same each time, after the sources that they name."""

    verdict: ClaimReply | None
    sources: list[Member] = field(default_factory=list)
    failed_addresses: list[Address] = field(default_factory=list)
    has_lost_source: bool = False

    def named(
        self, target: Sought, wanted: RangeOf, fallback: FallbackMembers, *, reply: ClaimReply | None, longest: float
    ) -> ToldSources:
        assert reply is None
        assert wanted == Span.whole
        return ToldSources(self, target, fallback)

    def failed(self, digest: Digest, address: Address) -> None:
        assert digest == DIGEST
        self.failed_addresses.append(address)

    def count_members(self) -> int:
        return 3


class ToldSources:
    def __init__(self, told: Told, target: Sought, fallback: FallbackMembers) -> None:
        self._told = told
        self._target = target
        self._fallback = fallback
        self._left = list(told.sources)

    async def next(self) -> Offer | None:
        if self._left:
            content = Content(self._target.digest, 1, None)
            return Offer(self._left.pop(0), self._target, content, None, busy=False)
        self._fallback.learn(self._told.verdict, has_lost_source=self._told.has_lost_source)
        return None

    def ended(self, offer: Offer) -> None:
        """Nothing waits for that here."""


class Cluster:
    """Three members, of whom the last has it."""

    def __init__(self, verdict: ClaimReply | None, *, doubts: Doubts | None = None) -> None:
        self.holders = [Holder(1), Holder(2), Holder(3, has_it=True)]
        self.members = [
            Member(address(holder.number), cast("Any", holder), own_id=NodeId("own"), on_change=lambda _: None)
            for holder in self.holders
        ]
        self.told = Told(verdict)
        self.record = FindRecord()
        self.locator = MemberLocator(
            self, fanout_limit=32, coalescing=cast("Any", self.told), doubts=doubts, observer=self.record
        )

    def available(self) -> list[Member]:
        return self.members

    async def ask(self, digest: Digest = DIGEST) -> tuple[set[int], bool]:
        """Who was asked, and whether it was found."""
        for holder in self.holders:
            holder.asked = 0
        async with aclosing(self.locator.plan(sought(digest), Span.whole)) as plan:
            outcome = await asyncio.gather(plan.next(), return_exceptions=True)
        if isinstance(outcome[0], AllFailed):
            assert isinstance(refusal(outcome[0].reasons), ContentNotFound)
        return {holder.number for holder in self.holders if holder.asked}, isinstance(outcome[0], Offer)


async def test_nobody_is_asked_when_nobody_can_have_it() -> None:
    cluster = Cluster(ClaimReply(view=7))
    assert await cluster.ask() == (set(), False)
    assert cluster.record.outcomes == {FindOutcome.UNASKED: 1}


async def test_only_those_are_asked_who_may_have_it() -> None:
    assert await Cluster(ClaimReply(view=7, unheard=(address(2),))).ask() == ({2}, False)
    assert await Cluster(ClaimReply(view=7, unheard=(address(2), address(3)))).ask() == ({2, 3}, True)


async def test_one_that_is_unheard_of_here_too_is_not_asked() -> None:
    assert await Cluster(ClaimReply(view=7, unheard=(address(99),))).ask() == (set(), False)


@pytest.mark.parametrize("verdict", [None, ClaimReply()])
async def test_everyone_is_asked_when_nobody_knows(verdict: ClaimReply | None) -> None:
    assert await Cluster(verdict).ask() == ({1, 2, 3}, True)


async def test_a_pull_that_comes_back_has_everyone_asked() -> None:
    cluster = Cluster(ClaimReply(view=7))
    assert await cluster.ask() == (set(), False)
    assert await cluster.ask(OTHER) == (set(), False)
    assert await cluster.ask() == ({1, 2, 3}, True)
    await asyncio.sleep(DOUBT_SECONDS - 1)
    assert await cluster.ask() == ({1, 2, 3}, True)
    await asyncio.sleep(2)
    assert await cluster.ask() == (set(), False)


async def test_one_that_may_wait_for_this_node_is_no_source_until_it_has_all() -> None:
    """Index nodes want this node to fetch it, and know where that one gets it: the few bytes more that it has are all.

    Six nodes of which three lost their agents stood still so for 15 s.
    """
    cluster = Cluster(ClaimReply(view=7))
    cluster.holders[2].is_receiving = True
    assert await cluster.ask() == (set(), False)
    assert await cluster.ask() == ({1, 2, 3}, True), "this one is only beginning: nobody was sent to it"
    cluster.told.has_lost_source = True
    assert await cluster.ask() == ({1, 2, 3}, False)
    cluster.told.verdict = ClaimReply(view=7, unheard=(address(3),))
    assert await cluster.ask() == ({1, 2, 3}, True), "they do not know it, so it follows none that they named"
    cluster.told.verdict = ClaimReply()  # others are in the wave
    assert await cluster.ask() == ({1, 2, 3}, False)
    cluster.told.verdict = None
    assert await cluster.ask() == ({1, 2, 3}, True), "nobody waits for this node"
    cluster.holders[2].is_receiving = False
    cluster.told.verdict = ClaimReply()
    assert await cluster.ask() == ({1, 2, 3}, True)


async def test_everyone_is_asked_for_what_is_vital() -> None:
    cluster = Cluster(ClaimReply(view=7), doubts=Doubts(lambda digest: digest == DIGEST))
    assert await cluster.ask() == ({1, 2, 3}, True)
    assert await cluster.ask(OTHER) == (set(), False)


async def test_one_that_is_named_and_avoided_is_passed_by_and_reported() -> None:
    cluster = Cluster(ClaimReply())
    avoided = cluster.members[2]
    cluster.told.sources = [avoided]
    cluster.locator.blame(Offer(avoided, sought(DIGEST), Content(DIGEST, 1, None), None, busy=False))
    assert await cluster.ask() == ({1, 2}, False)
    assert cluster.told.failed_addresses == [avoided.address]
