"""Who is waited for, how long, and what happens when it goes wrong: in virtual time, with nodes that are scripted."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.bound import bounded
from registryd.aio.racing import AllFailed
from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, NodeLocation, Receipt
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerSilent, PeerUnreachable
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.cluster.fetch.fallback import FallbackMembers
from registryd.cluster.fetch.intake import Urgency
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.named import Patience, Want
from registryd.cluster.fetch.places import Places
from registryd.cluster.health.own_pace import OwnPace
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.ring import RendezvousHash
from registryd.cluster.index.wave import EXPECTED_SECONDS, LINE_SECONDS
from registryd.cluster.index_client.companions import LayerSchedule
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.members.member import Member
from registryd.content.asker import Asker, asked_by
from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.sought import Sought
from registryd.content.source import Content, ContentNotFound, NotForName
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, OCTET_STREAM, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from registryd.oci.ranges import Span
from registryd.oci.reference import Repository
from tests.fakes.entitled import said, sought

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from registryd.cluster.contract.peer import Wait
    from registryd.cluster.fetch.plan import SourcePlan
    from registryd.cluster.members.offer import Offer

pytestmark = pytest.mark.looptime

SIZE = 100 << 20
MANIFEST = Digest.of(b"manifest")
OTHER_NAME = Repository.parse("other.example/app")
FETCH_WAIT = 15.0


def place(number: int) -> NodeLocation:
    return NodeLocation(Address(f"10.0.0.{number}", 3173))


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class ScriptedNode:
    """A node whose content arrives as a test says: `arrives(seconds)` is how much is there then, None for nothing."""

    number: int
    arrives: Callable[[float], int | None] = lambda _: None
    desk: IndexState | None = None
    is_dead: bool = False
    gives_for_other_names: bool = False
    is_held_up: bool = False
    uploads: int = 0
    is_receiving: bool = False
    claims: list[Claim] = field(default_factory=list)
    finds: int = 0
    waits: list[float] = field(default_factory=list)

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        digest = wanted.digest
        self.finds += 1
        self.waits.append(wait.seconds if wait else 0.0)
        until = now() + (wait.seconds if wait else 0)
        await asyncio.sleep(0.001)
        if self.is_dead:
            await asyncio.sleep(until - now() + 1.0)
            raise PeerSilent("dead")
        while wait and now() < until and (have := self.arrives(now())) is not None and have <= wait.beyond:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        have = self.arrives(now())
        if self.gives_for_other_names and wanted.repository != OTHER_NAME:
            return FindAnswer(Node(NodeId("n"), 0), None, busy=False, is_not_for_name=True)
        if have is None:
            return FindAnswer(Node(NodeId("n"), 0), None, busy=False)
        growing = GrowingContent(digest, SIZE, None, have, is_held_up=self.is_held_up)
        content = Content(digest, SIZE, None) if have == SIZE else growing
        answer = FindAnswer(Node(NodeId("n"), 0), said(content), busy=False, uploads=self.uploads)
        return replace(answer, is_receiving=self.is_receiving)

    async def claim(self, claim: Claim) -> ClaimReply:
        self.claims.append(claim)
        if self.is_dead:
            await asyncio.sleep(1.0)
            raise PeerSilent("dead")
        if self.desk is None:
            raise PeerUnreachable("nobody there")
        return await self.desk.decide(claim)

    async def announce(self, announcement: Announcement) -> Receipt:
        raise NotImplementedError


class ScriptedRoster:
    """Everyone, until he fails."""

    def __init__(self, *nodes: ScriptedNode) -> None:
        self._aside: set[Address] = set()
        self._members = {
            place(node.number).address: Member(
                place(node.number).address, cast("Any", node), own_id=NodeId("own"), on_change=self._changed
            )
            for node in nodes
        }
        self._addresses = frozenset(self._members)

    def addresses(self) -> frozenset[Address]:
        return self._addresses

    def get(self, address: Address) -> Member | None:
        return self._members.get(address) if address in self._addresses else None

    def _changed(self, member: Member) -> None:
        if not member.is_available:
            self._addresses -= {member.address}


class OwnStore:
    """What this node receives itself."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        raise ContentNotFound("nothing arrives here")


OWN = 9


def make(*nodes: ScriptedNode, own_pace: OwnPace | None = None) -> tuple[FetchCoordinator, IndexState]:
    desk = IndexState(NodeId("own"), lambda: 0.0)
    roster = ScriptedRoster(*nodes)
    index = IndexNodes(roster, desk, own_place=partial(place, OWN))
    return FetchCoordinator(index, roster, OwnStore(), fetch_wait=FETCH_WAIT, own_pace=own_pace), desk


def digest_of(first: int, *others: int) -> Digest:
    """A digest whose first index node is the first of these nodes."""
    return digests_of(first, *others)[0]


def digests_of(first: int, *others: int) -> list[Digest]:
    """Some of them."""
    ring = RendezvousHash(place(number).address for number in (first, *others))
    digests = [Digest.of(str(attempt).encode()) for attempt in range(100)]
    return [digest for digest in digests if ring.index_nodes(digest)[0] == place(first).address]


async def sources(coalescing: FetchCoordinator, digest: Digest, *, start: int = 0, most: int = 5) -> list[str]:
    found: list[str] = []
    named = coalescing.named(sought(digest), lambda size: Span(start, size), FallbackMembers())
    while len(found) < most and (offer := await named.next()):
        found.append(offer.member.address.host.rpartition(".")[2])
    return found


async def given(plan: SourcePlan) -> Offer:
    offer = await plan.next()
    assert offer is not None
    return offer


async def test_the_first_to_claim_is_sent_to_the_origin_at_once(looptime: object) -> None:
    coalescing, _ = make()
    assert await sources(coalescing, digest_of(OWN)) == []
    assert looptime == 0


async def test_the_next_follows_the_first_as_soon_as_it_has_a_byte(looptime: object) -> None:
    fetcher = ScriptedNode(1, arrives=lambda at: 0 if at < 5 else 1 << 20)
    coalescing, desk = make(fetcher)
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    assert await sources(coalescing, digest, most=1) == ["1"]
    assert 5 <= now() < 5.1
    assert fetcher.finds <= 6


async def test_waiting_for_one_at_work_does_not_count_against_the_first_byte() -> None:
    fetcher = ScriptedNode(1, arrives=lambda at: 0 if at < 8 else SIZE)
    coalescing, desk = make(fetcher)
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    async with bounded(3):
        assert await sources(coalescing, digest, most=1) == ["1"]


async def test_a_fetcher_without_a_byte_is_given_up_after_a_while() -> None:
    fetcher = ScriptedNode(1, arrives=lambda _: 0)
    coalescing, desk = make(fetcher)
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    assert await sources(coalescing, digest) == []
    assert FETCH_WAIT <= now() < FETCH_WAIT + 1.2


async def test_a_fetcher_that_gave_up_loses_the_claim_at_once(looptime: object) -> None:
    coalescing, desk = make(ScriptedNode(1))
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    assert await sources(coalescing, digest) == []
    assert now() < 0.1
    assert desk.claim(Claim(digest, place(2))).sources == (place(OWN).address,)


async def test_a_fetcher_that_lost_power_loses_the_claim_in_some_seconds() -> None:
    coalescing, desk = make(ScriptedNode(1, is_dead=True))
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    assert await sources(coalescing, digest) == []
    assert now() < 4


async def test_who_goes_on_needs_a_source_that_is_further() -> None:
    fetcher = ScriptedNode(1, arrives=lambda at: min(SIZE - 1, int(at * (1 << 20))))
    coalescing, desk = make(fetcher)
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    assert await sources(coalescing, digest, start=4 << 20, most=1) == ["1"]
    assert 4 < now() < 4.2


async def test_a_dead_index_node_is_passed_over_after_half_a_second() -> None:
    second = ScriptedNode(2, desk=IndexState(NodeId("two"), lambda: 0.0))
    coalescing, desk = make(ScriptedNode(1, is_dead=True), second)
    digest = digest_of(1, 2, OWN)
    assert await sources(coalescing, digest) == []
    assert now() == pytest.approx(0.5, abs=0.01)
    assert len(second.claims) + len(desk) == 1


async def test_an_index_node_that_refuses_is_passed_over_at_once() -> None:
    coalescing, desk = make(ScriptedNode(1), ScriptedNode(2))
    assert await sources(coalescing, digest_of(1, 2, OWN)) == []
    assert now() == 0
    assert len(desk) == 1


async def test_a_source_that_broke_is_reported_with_the_next_claim() -> None:
    index = ScriptedNode(1, desk=IndexState(NodeId("one"), lambda: 0.0))
    source = ScriptedNode(2, arrives=lambda _: SIZE)
    coalescing, _ = make(index, source)
    digest = digest_of(1, 2, OWN)
    assert index.desk is not None
    index.desk.announce(Announcement(place(2), held=(digest,)))
    assert await sources(coalescing, digest, most=1) == ["2"]
    coalescing.failed(digest, place(2).address)
    assert await sources(coalescing, digest) == []
    assert index.claims[-1].failed == (place(2).address,)


@dataclass
class AnsweringLater:
    """Index nodes of which none answers the first claims, or not soon."""

    seconds: float
    unanswered: int = 1
    claims: list[Claim] = field(default_factory=list)

    def own_place(self) -> NodeLocation:
        return place(OWN)

    async def claim(self, claim: Claim) -> ClaimReply | None:
        self.claims.append(claim)
        if len(self.claims) > self.unanswered:
            return ClaimReply()
        await asyncio.sleep(self.seconds)
        return None


@pytest.mark.parametrize("seconds", [0.1, 10.0])
async def test_what_no_index_node_has_heard_is_reported_again(seconds: float) -> None:
    index = AnsweringLater(seconds)
    coalescing = FetchCoordinator(cast("Any", index), ScriptedRoster(), OwnStore(), fetch_wait=FETCH_WAIT)
    digest, failed, slow = digest_of(OWN), place(1).address, place(2).address
    want = Want(sought(digest), Span.whole, SIZE)
    coalescing.failed(digest, failed)
    coalescing.slow(digest, slow)
    with suppress(TimeoutError):
        async with asyncio.timeout(1):  # a request that is given up
            await coalescing.claim_once(want, Urgency.ASKED)
    for _ in range(2):
        await coalescing.claim_once(want, Urgency.ASKED)
    assert [(claim.failed, claim.slow) for claim in index.claims] == [((failed,), (slow,))] * 2 + [((), ())]


async def test_a_slow_source_is_followed_once_while_no_index_node_answers() -> None:
    index = AnsweringLater(0.1, unanswered=2)
    coalescing = FetchCoordinator(cast("Any", index), ScriptedRoster(), OwnStore(), fetch_wait=FETCH_WAIT)
    digest, slow = digest_of(OWN), place(2).address
    want = Want(sought(digest), Span.whole, SIZE)
    coalescing.slow(digest, slow)
    assert await coalescing.claim_once(want, Urgency.ASKED) == ClaimReply((slow,))
    assert await coalescing.claim_once(want, Urgency.ASKED) is None, "the node looks for another one itself"


@asynccontextmanager
async def opening_the_only_one() -> AsyncIterator[tuple[SourcePlan, Offer]]:
    """A plan whose one source was given, and is being opened."""
    source = ScriptedNode(1, arrives=lambda _: SIZE)
    coalescing, desk = make(source)
    digest = digest_of(OWN, 1)
    desk.announce(Announcement(place(1), held=(digest,)))
    locator = MemberLocator(Alone(), fanout_limit=32, coalescing=coalescing)
    async with aclosing(locator.plan(sought(digest), Span.whole)) as plan:
        yield plan, await given(plan)


async def test_one_that_is_being_opened_is_not_given_up_by_an_impatient_asker() -> None:
    async with opening_the_only_one() as (plan, offer):
        asking = asyncio.create_task(plan.next())
        await asyncio.sleep(1)
        assert not asking.done()
        plan.failed(offer, PeerDeclined("busy"))
        with pytest.raises(AllFailed):
            await asking
        assert now() == pytest.approx(1, abs=0.01)


async def test_that_nobody_else_is_found_does_not_end_what_is_being_opened() -> None:
    """Index nodes name nobody else after a while, and a search finds nobody. The request waits for the one."""
    async with opening_the_only_one() as (plan, offer):
        assert await plan.next() is None
        assert 1 <= now() <= 3
        plan.failed(offer, PeerDeclined("busy"))


class Alone:
    """Nobody is there to be asked without being named."""

    def available(self) -> list[Member]:
        return []


async def test_a_source_that_gave_wrong_content_is_passed_over_at_once_when_it_is_named_again() -> None:
    blamed, other = ScriptedNode(1, arrives=lambda _: SIZE), ScriptedNode(2, arrives=lambda _: SIZE)
    coalescing, desk = make(blamed, other)
    locator = MemberLocator(Alone(), fanout_limit=32, coalescing=coalescing)
    digest = digest_of(OWN, 1, 2)
    desk.announce(Announcement(place(1), held=(digest,)))
    async with aclosing(locator.plan(sought(digest), Span.whole)) as plan:
        locator.blame(await given(plan))
    desk.announce(Announcement(place(2), held=(digest,)))
    async with aclosing(locator.plan(sought(digest), Span.whole)) as plan:
        assert (await given(plan)).member.address == place(2).address
    assert now() < 0.1


@dataclass
class All:
    """These can be asked without being named."""

    members: list[Member]

    def available(self) -> list[Member]:
        return self.members


@pytest.mark.parametrize("loss", ["stripes", "source", "beginning", ""])
async def test_who_is_to_fetch_in_place_of_another_does_not_wait_for_those_below(loss: str) -> None:
    """Each of them may have got bytes that others lack; a node that has all of it still gives it."""
    growing, whole = ScriptedNode(1, arrives=lambda _: 1 << 20), ScriptedNode(2, arrives=lambda _: SIZE)
    roster = ScriptedRoster(growing, whole)
    coalescing, _ = make(growing, whole)
    members = [member for member in map(roster.get, sorted(roster.addresses(), key=str)) if member]
    digest = digest_of(OWN, 1, 2)
    if loss == "stripes":
        coalescing.get_whole(digest)
    if loss == "source":
        coalescing.failed(digest, place(77).address)
    wanted = Span(1, SIZE) if loss == "beginning" else Span.whole(SIZE)
    for there, expected in ((members, [2] if loss else [2, 1]), (members[:1], [] if loss else [1])):
        locator = MemberLocator(All(there), fanout_limit=32, coalescing=coalescing)
        found = []
        async with aclosing(locator.plan(sought(digest), lambda _: wanted)) as plan:
            while (offer := await plan.next()) is not None:
                found.append(offer.member.address)
        assert found == [place(number).address for number in expected]


async def test_somebody_whom_this_node_does_not_know_is_not_waited_for() -> None:
    coalescing, desk = make()
    digest = digest_of(OWN)
    desk.claim(Claim(digest, place(77)))
    assert await sources(coalescing, digest) == []
    assert now() == 0


async def test_cancelling_a_wait_leaves_nothing_behind() -> None:
    fetcher = ScriptedNode(1, arrives=lambda _: 0)
    coalescing, desk = make(fetcher)
    digest = digest_of(OWN, 1)
    desk.claim(Claim(digest, place(1)))
    task = asyncio.create_task(sources(coalescing, digest))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("own", "expected"), [(SIZE + 1, SIZE + 1), (None, SIZE)])
async def test_the_size_that_this_nodes_containerd_knows_is_not_a_members_to_change(
    own: int | None, expected: int
) -> None:
    """A request that is ended for another one is answered with the size."""
    coalescing, _ = make(ScriptedNode(1, arrives=lambda _: 1 << 20))
    want = Want(sought(digest_of(OWN, 1)), Span.whole, own)
    assert await coalescing.follow(place(1).address, want, Patience(1.0), (0.0,)) is not None
    assert want.size == expected


async def test_a_request_whose_time_is_over_when_its_sources_are_named_asks_once_and_lets_nobody_wait() -> None:
    """A claim may take seconds of it, and a find cannot wait for less than nothing."""
    node = ScriptedNode(1, arrives=lambda _: 0)
    coalescing, _ = make(node)
    patience = Patience(1.0)
    patience.begin()
    await asyncio.sleep(3.0)
    want = Want(sought(digest_of(OWN, 1)), Span.whole, SIZE)
    assert await coalescing.follow(place(1).address, want, patience, (2.5, 2.5)) is None
    assert node.waits == [0.0]


@pytest.mark.parametrize(("uploads", "is_at_work", "is_given"), [(3, True, True), (4, True, False), (4, False, True)])
async def test_a_holder_that_gives_to_many_is_left_to_these_while_a_source_is_at_work(
    *, uploads: int, is_at_work: bool, is_given: bool
) -> None:
    """All whose source begins late would get a small share of one link to the end."""
    source = ScriptedNode(1, arrives=lambda _: 0 if is_at_work else None)
    coalescing, _ = make(source, ScriptedNode(2, arrives=lambda _: SIZE, uploads=uploads))
    reply = ClaimReply((place(1).address, place(2).address))
    named = coalescing.named_by(reply, sought(digest_of(OWN, 1, 2)), Span.whole)
    if is_given:
        offer = await named.next()
        assert offer is not None
        assert offer.member.address == place(2).address
    else:
        with pytest.raises(NotArrived):
            await named.next()
    assert now() == pytest.approx(1.0 if is_at_work else 0.0, abs=0.1)


@pytest.mark.parametrize(
    ("uploads", "is_receiving", "is_there", "given"),
    [(0, False, True, "2"), (1, False, True, "1"), (0, True, True, "1"), (0, False, False, "1")],
)
async def test_a_holder_that_does_nothing_else_is_taken_before_a_source_that_is_receiving(
    *, uploads: int, is_receiving: bool, is_there: bool, given: str
) -> None:
    source = ScriptedNode(1, arrives=lambda _: 1 << 20)
    holder = ScriptedNode(2, arrives=lambda _: SIZE if is_there else None, uploads=uploads, is_receiving=is_receiving)
    coalescing, _ = make(source, holder)
    reply = ClaimReply((place(1).address, place(2).address), idle=place(2).address)
    named = coalescing.named_by(reply, sought(digest_of(OWN, 1, 2)), Span.whole)
    offer = await named.next()
    assert offer is not None
    assert offer.member.address == place(int(given)).address
    assert holder.finds == 1
    assert source.finds == (given == "1")
    named.ended(offer)
    # Whichever was taken, the other one is left, unless it has said no.
    other = await named.next()
    assert (other is None) is not is_there
    assert other is None or other.member.address == place(3 - int(given)).address
    assert is_there or holder.finds == 1


async def test_an_idle_holder_that_is_no_source_is_not_asked() -> None:
    """An index node may say anything."""
    stranger, holder = (ScriptedNode(n, arrives=lambda _: SIZE) for n in (1, 2))
    coalescing, _ = make(stranger, holder)
    reply = ClaimReply((place(2).address,), idle=place(1).address)
    named = coalescing.named_by(reply, sought(digest_of(OWN, 1, 2)), Span.whole)
    offer = await named.next()
    assert offer is not None
    assert offer.member.address == place(2).address
    assert not stranger.finds


async def test_when_the_idle_holder_has_something_to_do_the_other_holders_are_asked_first_too() -> None:
    """It may be giving another layer to the source that is still receiving this one."""
    source = ScriptedNode(1, arrives=lambda _: 1 << 20)
    busy, free = (ScriptedNode(n, arrives=lambda _: SIZE, uploads=uploads) for n, uploads in ((2, 1), (3, 0)))
    coalescing, _ = make(source, busy, free)
    reply = ClaimReply(tuple(place(n).address for n in (1, 2, 3)), idle=place(2).address)
    named = coalescing.named_by(reply, sought(digest_of(OWN, 1, 2, 3)), Span.whole)
    offer = await named.next()
    assert offer is not None
    assert offer.member.address == place(3).address
    assert (source.finds, busy.finds, free.finds) == (0, 1, 1)


@pytest.mark.parametrize(
    ("is_final", "free_at", "given_at"), [(False, 1.5, 2), (True, 1.5, 2), (False, 99, 5), (True, 99, 5)]
)
async def test_a_holder_that_was_left_to_others_is_asked_again_and_taken_when_the_source_never_begins(
    *, is_final: bool, free_at: float, given_at: float
) -> None:
    """Index nodes name only the source when they are asked again."""
    source, holder = ScriptedNode(1, arrives=lambda _: 0), ScriptedNode(2, arrives=lambda _: SIZE, uploads=4)
    coalescing, desk = make(source, holder)
    target = sought(digest_of(OWN, 1, 2))
    desk.announce(Announcement(place(2), held=(target.digest,)))
    desk.claim(Claim(target.digest, place(1), SIZE))
    asyncio.get_running_loop().call_later(free_at, setattr, holder, "uploads", 3)
    offer, claims = None, 0
    while offer is None:
        reply = await coalescing.claim(target, SIZE, Urgency.ASKED)
        assert reply is not None
        claims += 1
        assert len(reply.sources) == (2 if claims == 1 else 1)
        if not is_final:
            offer = await coalescing.named(target, Span.whole, FallbackMembers(), reply=reply).next()
            break
        with suppress(NotArrived):
            offer = await coalescing.named_by(reply, target, Span.whole).next()
    assert offer is not None
    assert offer.member.address == place(2).address
    assert given_at <= now() < given_at + 1.5


@pytest.mark.parametrize(("is_held_up", "longest", "seconds"), [(True, 45.0, 45), (False, 45.0, 15), (True, 0.0, 15)])
async def test_who_has_some_of_it_waits_longer_for_a_source_that_is_held_up_itself(
    *, is_held_up: bool, longest: float, seconds: float
) -> None:
    """A node further up stands still: those right below it leave it after 15 s, and then bytes come here again."""
    node = ScriptedNode(1, arrives=lambda _: 1 << 20, is_held_up=is_held_up)
    coalescing, _ = make(node)
    patience = Patience(15.0, longest=longest)
    want = Want(sought(digest_of(OWN, 1)), lambda size: Span(1 << 20, size), SIZE)
    assert await coalescing.follow(place(1).address, want, patience, (2.5,) * 100) is None
    assert now() == pytest.approx(seconds, abs=0.5)


async def test_who_has_it_can_be_asked_without_claiming() -> None:
    coalescing, desk = make(ScriptedNode(1))
    digest = digest_of(OWN, 1)
    desk.announce(Announcement(place(1), held=(digest,)))
    assert [member.address for member in await coalescing.holders(sought(digest))] == [place(1).address]
    assert len(desk) == 1


async def test_a_slow_source_is_reported_with_the_next_claim_and_another_is_named() -> None:
    coalescing, desk = make(*(ScriptedNode(number, arrives=lambda _: 1 << 20) for number in (1, 2)))
    digest = digest_of(OWN, 1, 2)
    for number in (1, 2):
        desk.claim(Claim(digest, place(number), SIZE))
    assert await sources(coalescing, digest, most=1) == ["2"]
    coalescing.slow(digest, place(2).address)
    assert await sources(coalescing, digest, start=1000, most=1) == ["1"]
    assert desk.claim(Claim(digest, place(3), SIZE)).sources[0] != place(2).address


async def test_what_comes_slowly_goes_on_when_an_index_node_knows_of_nobody() -> None:
    coalescing, _ = make(ScriptedNode(1, arrives=lambda _: 1 << 20))
    digest = digest_of(OWN, 1)
    coalescing.slow(digest, place(1).address)
    assert await sources(coalescing, digest, start=1000, most=1) == ["1"]


async def test_who_ought_to_get_it_as_quickly_is_asked_without_claiming() -> None:
    coalescing, desk = make(*(ScriptedNode(number) for number in (1, 2)))
    digest = digest_of(OWN, 1, 2)
    for number in (1, 2):
        desk.claim(Claim(digest, place(number), SIZE))
    found = await coalescing.beside(sought(digest), place(2).address)
    assert [member.address for member in found] == [place(1).address]
    assert await coalescing.beside(sought(digest), place(1).address) == []
    assert len(desk) == 2


class Beginning(OwnStore):
    """containerd has begun everything, and knows its size."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        return GrowingContent(digest, SIZE, None, 0)


class NoIntentions:
    """containerd has asked for everything."""

    def to_be_asked(self) -> Mapping[Digest, float]:
        return {}

    def is_idle(self) -> bool:
        return False


async def told_to_wait_for(
    predecessor: ScriptedNode, *, claims_after: float | None, lines_up: bool = True
) -> tuple[list[str], list[Address | None]]:
    """The sources of a layer that the node before this one claims later or never, and whom its claims name."""
    desk = IndexState(NodeId("one"), now)
    index = ScriptedNode(1, desk=desk)
    roster = ScriptedRoster(index, predecessor)
    as_seen = IndexNodes(roster, IndexState(NodeId("own"), now), own_place=partial(place, OWN))
    companions = LayerSchedule()
    coalescing = FetchCoordinator(as_seen, roster, Beginning(), fetch_wait=FETCH_WAIT, companions=companions)
    places = Places(Beginning(), NoIntentions())
    with asked_by(Asker(lines_up, waits=True)), places.present():
        coalescing.mind(places)
    layer = digest_of(1, OWN, predecessor.number)
    companions.came_after(place(predecessor.number).address, MANIFEST, rank=1)
    companions.learn(MANIFEST, Manifest(OCI_MANIFEST, (Descriptor(OCTET_STREAM, layer, SIZE),)))
    if claims_after is not None:
        claim = Claim(layer, place(predecessor.number), SIZE, rank=0)
        asyncio.get_running_loop().call_later(claims_after, desk.claim, claim)
    return await sources(coalescing, layer, most=1), [claim.below for claim in index.claims]


async def test_a_node_waits_for_the_one_before_it_until_that_has_some() -> None:
    late = ScriptedNode(5, arrives=lambda seconds: 1 << 20 if seconds > 4 else 0)
    found, below = await told_to_wait_for(late, claims_after=1.0)
    assert found == ["5"]
    assert now() == pytest.approx(4.0, abs=0.1)
    assert set(below) == {place(5).address}


async def test_with_an_older_containerd_a_node_does_not_wait_for_one_before_it() -> None:
    late = ScriptedNode(5, arrives=lambda seconds: 1 << 20 if seconds > 4 else 0)
    found, below = await told_to_wait_for(late, claims_after=1.0, lines_up=False)
    assert found == []
    assert now() == pytest.approx(LINE_SECONDS, abs=0.1)
    assert below == [place(5).address, None]


async def test_a_node_does_not_wait_for_one_before_it_that_does_not_want_it() -> None:
    found, below = await told_to_wait_for(ScriptedNode(5), claims_after=None)
    assert found == []
    assert now() == pytest.approx(2 * LINE_SECONDS, abs=0.1)
    assert below == [place(5).address, place(5).address]


async def test_a_node_goes_on_without_one_before_it_that_never_claims_it() -> None:
    found, below = await told_to_wait_for(ScriptedNode(5, arrives=lambda _: 0), claims_after=None)
    assert found == []
    assert now() < EXPECTED_SECONDS + 2
    assert below[-1] == place(5).address


async def test_layers_are_claimed_below_the_one_that_claimed_the_manifest_just_before() -> None:
    class Layered(OwnStore):
        """containerd has begun both, and knows their sizes."""

        async def arriving(self, digest: Digest) -> GrowingContent:
            return GrowingContent(digest, SIZE if digest == layer else 1000, None, 0)

    desk = IndexState(NodeId("one"), now)
    index = ScriptedNode(1, desk=desk)
    roster = ScriptedRoster(index)
    as_seen = IndexNodes(roster, IndexState(NodeId("own"), now), own_place=partial(place, OWN))
    coalescing = FetchCoordinator(as_seen, roster, Layered(), fetch_wait=FETCH_WAIT)
    manifest, layer = digests_of(1, OWN)[:2]
    desk.claim(Claim(manifest, place(5)))
    below = []
    for digest in (manifest, layer, layer):
        index.claims.clear()
        await sources(coalescing, digest)
        below.append(index.claims[0].below)
    # It did not come, and is not named again.
    assert below == [None, place(5).address, None]
    assert now() == pytest.approx(LINE_SECONDS, abs=0.1)


async def test_a_holder_that_has_fallen_silent_is_left_when_it_does_not_answer() -> None:
    coalescing, desk = make(ScriptedNode(1, is_dead=True), ScriptedNode(2, arrives=lambda _: SIZE))
    digest = digest_of(OWN, 1, 2)
    desk.announce(Announcement(place(1), held=(digest,)))
    assert desk.claim(Claim(digest, place(3), is_question=True)).is_whole
    desk.announce(Announcement(place(2), held=(digest,)))
    assert await sources(coalescing, digest, most=1) == ["2"]
    # As long as a question may take: it has nothing to wait for.
    assert now() == pytest.approx(1.0, abs=0.01)


async def test_one_without_a_byte_is_not_waited_for_long_while_others_have_all_of_it() -> None:
    receiver, holder = ScriptedNode(1, arrives=lambda _: 0), ScriptedNode(2, arrives=lambda _: SIZE)
    coalescing, desk = make(receiver, holder)
    digest = digest_of(OWN, 1, 2)
    desk.announce(Announcement(place(2), held=(digest,)))
    desk.claim(Claim(digest, place(1), SIZE))
    assert await sources(coalescing, digest, most=1) == ["2"]
    assert now() == pytest.approx(1.0, abs=0.02)


# Sources that give it for other names


async def test_one_that_does_not_give_it_for_that_name_is_named_no_more_and_not_suspected() -> None:
    elsewhere = ScriptedNode(1, arrives=lambda _: SIZE, gives_for_other_names=True)
    fitting = ScriptedNode(2, arrives=lambda _: SIZE)
    coalescing, desk = make(elsewhere, fitting)
    digest = digest_of(OWN, 1, 2)
    desk.announce(Announcement(place(1), held=(digest,)))
    assert await sources(coalescing, digest) == []
    assert elsewhere.finds == 1
    desk.announce(Announcement(place(2), held=(digest,)))
    assert await sources(coalescing, digest, most=1) == ["2"]
    assert elsewhere.finds == 1, "it has said so"
    # For others, and for other names, it is as good as before.
    assert set(desk.claim(Claim(digest, place(77), is_question=True)).sources) >= {place(1).address, place(2).address}
    other = Sought(digest, OTHER_NAME)
    offer = await coalescing.named(other, Span.whole, FallbackMembers()).next()
    assert offer is not None
    assert offer.member.address in {place(1).address, place(2).address}


async def test_index_nodes_are_told_who_does_not_give_it_for_that_name() -> None:
    index = ScriptedNode(1, desk=IndexState(NodeId("index"), lambda: 0.0))
    elsewhere = ScriptedNode(2, arrives=lambda _: SIZE, gives_for_other_names=True)
    coalescing, _ = make(index, elsewhere)
    digest = digest_of(1, 2, OWN)
    assert index.desk is not None
    index.desk.announce(Announcement(place(2), held=(digest,)))
    assert await sources(coalescing, digest) == []
    first, second = index.claims
    assert (first.unfit, first.failed) == ((), ())
    assert (second.unfit, second.failed) == ((place(2).address,), ())
    await asyncio.sleep(11)
    await sources(coalescing, digest)
    assert index.claims[2].unfit == (), "it may have come to be for that name"


async def test_index_nodes_are_told_that_this_node_is_slow_as_long_as_that_is_known() -> None:
    index, pace = ScriptedNode(1, desk=IndexState(NodeId("index"), lambda: 0.0)), OwnPace()
    coalescing, _ = make(index, own_pace=pace)
    for _ in range(2):
        await sources(coalescing, digest_of(1, OWN))
        pace.left_by("10.0.0.7")
    assert [claim.is_slow for claim in index.claims] == [False, True]


@pytest.mark.parametrize("gives", [True, False])
async def test_only_a_node_that_can_pass_on_what_it_receives_takes_stripes(*, gives: bool) -> None:
    index = ScriptedNode(1, desk=IndexState(NodeId("index"), lambda: 0.0))
    roster = ScriptedRoster(index)
    nodes = IndexNodes(roster, IndexState(NodeId("own"), lambda: 0.0), own_place=partial(place, OWN))
    coalescing = FetchCoordinator(nodes, roster, OwnStore(), fetch_wait=FETCH_WAIT, gives_stripes=lambda: gives)
    for urgency in (Urgency.ASKED, Urgency.PRESSED):
        await coalescing.claim(sought(digest_of(1, OWN)), SIZE, urgency)
    assert [claim.takes_stripes for claim in index.claims] == [gives, False]


class Forgetful(IndexState):
    """An index node of an older version, which does not know of names."""

    async def decide(self, claim: Claim) -> ClaimReply:
        return await super().decide(replace(claim, unfit=()))


async def test_an_older_index_node_that_names_it_again_is_not_asked_for_ever() -> None:
    index = ScriptedNode(1, desk=Forgetful(NodeId("index"), lambda: 0.0))
    elsewhere = ScriptedNode(2, arrives=lambda _: SIZE, gives_for_other_names=True)
    coalescing, _ = make(index, elsewhere)
    digest = digest_of(1, 2, OWN)
    assert index.desk is not None
    index.desk.announce(Announcement(place(2), held=(digest,)))
    assert await sources(coalescing, digest) == []
    assert (len(index.claims), elsewhere.finds) == (2, 1)
    assert now() < 1


async def test_one_that_says_so_only_when_it_is_opened_is_passed_over_at_once() -> None:
    one, other = (ScriptedNode(number, arrives=lambda _: SIZE) for number in (1, 2))
    coalescing, desk = make(one, other)
    locator = MemberLocator(Alone(), fanout_limit=32, coalescing=coalescing)
    digest = digest_of(OWN, 1, 2)
    desk.announce(Announcement(place(1), held=(digest,)))
    async with aclosing(locator.plan(sought(digest), Span.whole)) as plan:
        plan.failed(await given(plan), NotForName("it is for another name"))
        desk.announce(Announcement(place(2), held=(digest,)))
        assert (await given(plan)).member.address == place(2).address
    assert now() < 0.1
    # It has not failed: for others it is as good as before.
    assert set(desk.claim(Claim(digest, place(77), is_question=True)).sources) >= {place(1).address, place(2).address}
