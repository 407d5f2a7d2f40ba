"""A layer in stripes, each from another node: in virtual time, with nodes that do what a test says."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.index import ClaimReply
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerSilent
from registryd.cluster.fetch.named import WAITS
from registryd.cluster.fetch.stripe_sources import StripeSources
from registryd.cluster.fetch.stripe_stream import AGAIN_SECONDS
from registryd.cluster.fetch.striped import Striper
from registryd.cluster.members.member import Member
from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.source import Content, ContentNotFound, NotForName, OpenContent
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken, SourceLeft, SourceRefused, SourcesExhausted
from registryd.transfer.inflow import InflowMemory, Inflows
from registryd.transfer.monitoring.thresholds import STRIPE_LOOK_SECONDS
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES, reach
from tests.fakes.entitled import said, sought
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import stripe_bytes

if TYPE_CHECKING:
    from registryd.cluster.contract.peer import Wait
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

DATA = os.urandom(24 * ROW_BYTES + 5)
SIZE = len(DATA)
DIGEST = Digest.of(DATA)
WANTED = sought(DIGEST)
WHOLE = Span.whole(SIZE)
PARTS = [stripe_bytes(DATA, stripe) for stripe in range(STRIPES)]


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 3173)


FIRST = tuple(address(number) for number in range(1, STRIPES + 1))
"""Node 1 gives stripe 0, and so on; node 9 is at the top, and the nodes from 10 on are further ones."""
TOP = address(9)
NOT_YET = SourceRefused("the source answered 404", status=404)


@dataclass
class Source:
    """`gives`: bytes until it breaks; `rate` in bytes a second; `has`: what it says it has of any stripe;
    `comes`: a byte, and so much of it a second.

    `closing`: how many seconds its body takes to be closed; `slow_end`: so many bytes come at 7,000 a second;
    `pauses_at`: at that byte nothing comes for six seconds; `silence`: before it breaks nothing comes for so many;
    `is_left`: a check finds that; `is_held_up`: so it says; `waits_for_nobody`: it says at once that it has nothing;
    `door`: what becomes of a request for bytes at its door, if it is not asked first.
    """

    answers: Exception | None = None
    opens: Exception | None = None
    gives: int = SIZE
    rate: float = 0.0
    has: int | None = None
    comes: float | None = None
    size: int | None = None
    too_much: bytes = b""
    closing: float = 0.0
    slow_end: int = 0
    pauses_at: int | None = None
    silence: float = 0.0
    is_left: bool = False
    waits_for_nobody: bool = False
    is_held_up: bool = False
    door: Exception | None = None


@dataclass
class World:
    """The index node, the members, and what they are asked."""

    sources: dict[Address, Source] = field(default_factory=dict)
    further: list[Address] = field(default_factory=lambda: [address(number) for number in range(10, 40)])
    changes: list[tuple[int | None, tuple[Address, ...], tuple[Address, ...]]] = field(default_factory=list)
    told_slow: list[Address] = field(default_factory=list)
    given_up: list[Digest] = field(default_factory=list)
    late: list[tuple[int | None, Address]] = field(default_factory=list)
    late_for: int = 0
    """So often a source that is late is to be kept."""
    kept: Address | None = None
    """A node that has become the top: kept though it has nothing for long."""
    givers: dict[Address, Address] = field(default_factory=dict)
    """Who gives it to whom, as far as the index node knows."""
    unfit: list[Address] = field(default_factory=list)
    spreads: list[tuple[int | None, int]] = field(default_factory=list)
    """The stripes that were to go on by way of all, and to how many this node can give them."""
    with_few: Address | None = None
    """A source with few followers."""
    replaced_top: Address | None = None
    open_bodies: int = 0
    finds: list[tuple[Address, float]] = field(default_factory=list)
    """Who was asked whether it has a byte, and for how many seconds the answer could wait."""
    looks: list[Address] = field(default_factory=list)
    """Who was asked how much it has."""
    are_doors_known: bool = False

    def __post_init__(self) -> None:
        self.breaks: defaultdict[Address, asyncio.Event] = defaultdict(asyncio.Event)
        self.tasks = len(asyncio.all_tasks())
        self.inflows = Inflows(InflowMemory(1 << 30))
        self.blame = _Blame()
        self.striper = Striper(self, cast("Any", self), blame=cast("Any", self.blame), inflows=self.inflows)

    def source(self, of: Address) -> Source:
        return self.sources.setdefault(of, Source())

    # As the index node

    def member(self, of: Address) -> Member | None:
        return Member(of, cast("Any", _Peer(self, of)), own_id=NodeId("own"), on_change=lambda _: None)

    async def change_stripe(
        self,
        wanted: Sought,
        *,
        failed: tuple[Address, ...] = (),
        slow: tuple[Address, ...] = (),
        is_late: bool = False,
        places: int | None = None,
    ) -> Address | None:
        await asyncio.sleep(0.001)
        if places is not None:
            self.spreads.append((wanted.stripe, places))
            return self.with_few
        if (is_late and failed == (self.kept,)) or slow == (self.kept,):
            return self.kept
        if is_late and not failed:
            self.late.append((wanted.stripe, slow[0]))
            if len(self.late) <= self.late_for:
                return slow[0]
            return self.further.pop(0) if self.further else None
        if not failed and not slow:
            return self.further.pop(0) if self.unfit and self.further else self.replaced_top
        self.changes.append((wanted.stripe, failed, slow))
        return self.further.pop(0) if self.further else None

    async def beside(self, wanted: Sought, of: Address) -> list[Member]:
        giver = self.member(self.givers[of]) if of in self.givers else None
        return [giver] if giver else []

    def not_for_name(self, wanted: Sought, of: Address) -> None:
        self.unfit.append(of)

    def get_whole(self, digest: Digest) -> None:
        self.given_up.append(digest)

    # As an opener

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        source = self.source(offer.member.address)
        await asyncio.sleep(0.001)
        if source.opens:
            raise source.opens
        return OpenContent(offer.content, span, self._given(offer, span))

    def unasked(self, member: Member) -> Address | None:
        return Address(member.address.host, 3174) if self.are_doors_known else None

    async def open_unasked(self, offer: Offer, span: Span, *, seconds: float) -> Any:
        source = self.source(offer.member.address)
        await asyncio.sleep(0.001)
        if source.door:
            raise source.door
        if source.has is not None and source.has <= span.start:
            await asyncio.sleep(seconds)
            raise NOT_YET
        return self._given(offer, span)

    def _given(self, offer: Offer, span: Span) -> Any:
        source = self.source(offer.member.address)
        assert offer.sought.stripe is not None
        self.open_bodies += 1
        breaks = self.breaks[offer.member.address]
        return _Body(self, source, offer.sought.stripe, span, breaks)

    # As this node

    async def body(self, span: Span = WHOLE) -> Any:
        return await self.striper.follow(WANTED, span, ClaimReply((TOP,), stripes=FIRST))

    async def receive(self, span: Span = WHOLE) -> bytes:
        """All of it; nothing is left in the end, however it ends."""
        sink = FakeSink()
        try:
            body = await self.body(span)
            await body.send_to(sink)
        finally:
            self.require_nothing_left()
        return bytes(sink.data)

    def require_nothing_left(self) -> None:
        assert self.open_bodies == 0
        assert self.inflows.memory.held == 0
        assert self.inflows.board_of(DIGEST) is None
        assert len(asyncio.all_tasks()) == self.tasks


class _Blame:
    def __init__(self) -> None:
        self.givers: set[Address] = set()
        self.is_tainted = False

    def require_verified(self, content: Content) -> None:
        if self.is_tainted:
            raise PeerDeclined(f"{content.digest} was wrong lately")

    def gave(self, offer: Offer, *, from_start: bool) -> None:
        self.givers.add(offer.member.address)


@dataclass
class _Peer:
    world: World
    address: Address

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        source = self.world.source(self.address)
        if wait is None:
            self.world.looks.append(self.address)
        else:
            self.world.finds.append((self.address, wait.seconds))
        await asyncio.sleep(0.001)
        if source.answers:
            raise source.answers
        assert wanted.stripe is not None
        size = reach(wanted.stripe, SIZE) if source.size is None else source.size
        has = size if source.has is None else source.has
        if source.comes is not None:
            has = 1 + int(source.comes * asyncio.get_running_loop().time())
        if wait is not None and has <= wait.beyond and not source.waits_for_nobody:
            await asyncio.sleep(wait.seconds)
        content = GrowingContent(wanted.digest, size, None, min(size, has), is_held_up=source.is_held_up)
        return FindAnswer(Node(NodeId("n"), 0), said(content), busy=False)

    async def tell_slow(self, _: Sought) -> None:
        self.world.told_slow.append(self.address)


@dataclass
class _Body:
    world: World
    source: Source
    stripe: int
    span: Span
    breaks: asyncio.Event

    @property
    def length(self) -> int:
        return self.span.length

    async def send_to(self, sink: Sink) -> None:
        stop = min(self.span.stop, self.span.start + self.source.gives)
        for start in range(self.span.start, stop, PIECE_BYTES):
            data = PARTS[self.stripe][start : min(start + PIECE_BYTES, stop)]
            rate = self.source.rate or 10_000_000
            if self.source.pauses_at is not None and start - PIECE_BYTES < self.source.pauses_at <= start:
                await asyncio.sleep(6.0)
            if self.span.stop - start <= self.source.slow_end:
                rate = 7_000.0
            with suppress(TimeoutError):
                async with asyncio.timeout(len(data) / rate):
                    await self.breaks.wait()
                    raise SourceBroken("broke off")
            await sink.write(data)
        if stop < self.span.stop:
            await asyncio.sleep(self.source.silence)
            raise (SourceLeft if self.source.is_left else SourceBroken)("broke off")
        if self.source.too_much:
            await sink.write(self.source.too_much)

    async def aclose(self) -> None:
        self.world.open_bodies -= 1
        await asyncio.sleep(self.source.closing)


async def test_all_stripes_come_side_by_side_and_every_source_gave_some() -> None:
    world = World()
    assert await world.receive() == DATA
    assert world.blame.givers == set(FIRST)
    assert asyncio.get_running_loop().time() < 1.5 * SIZE / STRIPES / 10_000_000
    assert not [*world.changes, *world.given_up]


@pytest.mark.parametrize("start", [1, PIECE_BYTES * 3, ROW_BYTES * 2 + 77, SIZE - 1])
async def test_it_begins_where_it_is_to_begin(start: int) -> None:
    assert await World().receive(Span(start, SIZE)) == DATA[start:]


BAD = {
    "is gone": Source(answers=PeerSilent("silent")),
    "has it not": Source(answers=ContentNotFound("no")),
    "has another size": Source(size=7),
    "refuses": Source(opens=PeerDeclined("no")),
    "cannot be reached": Source(opens=SourceBroken("no")),
    "breaks at once": Source(gives=0),
    "breaks in a piece": Source(gives=PIECE_BYTES + 5),
}


@pytest.mark.parametrize("stripe", [0, 3])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_in_place_of_a_source_that_fails_another_gives_the_rest(bad: Source, stripe: int) -> None:
    """Also of the stripe that comes first."""
    world = World({FIRST[stripe]: bad})
    assert await world.receive() == DATA
    assert world.changes == [(stripe, (FIRST[stripe],), ())]
    assert not world.given_up


@pytest.mark.parametrize("stripe", [0, 3])
async def test_a_source_that_does_not_give_it_for_that_name_is_replaced_and_not_reported(stripe: int) -> None:
    world = World({FIRST[stripe]: Source(answers=NotForName("another registry's"))})
    assert await world.receive() == DATA
    assert (world.unfit, world.changes, world.given_up) == ([FIRST[stripe]], [], [])


async def test_where_no_source_gives_it_for_that_name_it_ends_at_once() -> None:
    world = World({one: Source(answers=NotForName("another registry's")) for one in FIRST}, further=[])
    with pytest.raises(ContentNotFound):
        await world.receive()
    assert (world.changes, world.given_up) == ([], [DIGEST])
    assert asyncio.get_running_loop().time() < 1.0


async def test_a_source_that_has_nothing_for_long_is_left() -> None:
    world = World({FIRST[2]: Source(has=0)})
    assert await world.receive() == DATA
    assert world.changes == [(2, (FIRST[2],), ())]
    world = HeldUp({FIRST[2]: Source(has=0)})
    assert await world.receive() == DATA
    assert (world.late, world.changes) == ([(2, FIRST[2])], [])
    assert asyncio.get_running_loop().time() < 12.0


async def test_a_source_that_has_nothing_for_long_fails_though_the_index_node_keeps_it() -> None:
    world = HeldUp({FIRST[2]: Source(has=0)}, late_for=40)
    assert await world.receive() == DATA
    assert world.changes == [(2, (FIRST[2],), ())]
    assert asyncio.get_running_loop().time() < 12.0


async def test_of_a_source_that_a_check_found_slow_or_gone_the_index_node_is_told_so() -> None:
    world = World({FIRST[2]: Source(opens=SourceLeft("a check")), FIRST[3]: Source(opens=SourceBroken("reset"))})
    assert await world.receive() == DATA
    assert sorted(world.changes) == [(2, (FIRST[2],), (FIRST[2],)), (3, (FIRST[3],), ())]


async def test_for_a_new_top_that_is_behind_and_catches_up_the_node_waits() -> None:
    """It fetches what it lacks from the origin, while those below it have more of some stripes."""
    top = address(10)
    slowly = {one: Source(rate=20_000.0) for one in FIRST}
    slowly[FIRST[2]].gives = 2 * PIECE_BYTES  # after 13 s
    comes_at = 2 * PIECE_BYTES / 8000
    world = World({**slowly, top: Source(comes=8000.0)}, late_for=1000, kept=top)
    task = asyncio.ensure_future(world.receive())
    await asyncio.sleep(comes_at + 5)
    board = world.inflows.board_of(DIGEST)
    assert board is not None
    assert board.reached[2] > 2 * PIECE_BYTES
    world.tasks += 1  # which looks as it ends
    assert await task == DATA
    assert world.changes == [(2, (FIRST[2],), ())]


@pytest.mark.parametrize("named", [[10, 11], [10, 10, 11]], ids=["by others, too", "by this node only"])
@pytest.mark.parametrize("comes", [0.0, 1.0, 7000.0])
async def test_a_top_that_says_that_it_gets_something_and_gives_nothing_for_long_has_failed(
    comes: float, named: list[int]
) -> None:
    """Also if it says that it gets more and more: stripes came a thousand times as quickly before."""
    top = address(10)
    world = World({FIRST[2]: Source(gives=4 * PIECE_BYTES), top: Source(comes=comes)}, late_for=1000, kept=top)
    world.further = list(map(address, named))
    assert await world.receive() == DATA
    assert world.changes == [(2, (FIRST[2],), ()), *[(2, (top,), ())] * (len(named) - 1)]
    assert 15.0 < asyncio.get_running_loop().time() < 17.0 + 5.0 * named.count(10)


@pytest.mark.parametrize("comes", [0.0, 7000.0])
@pytest.mark.parametrize("named", [[10], [10] * 40], ids=["no other", "the same"])
async def test_where_such_a_top_is_not_replaced_it_ends(comes: float, named: list[int]) -> None:
    top = address(10)
    world = World({FIRST[2]: Source(gives=4 * PIECE_BYTES), top: Source(comes=comes)}, late_for=1000, kept=top)
    world.further = list(map(address, named))
    with pytest.raises(SourceBroken):
        await world.receive()
    assert world.given_up == [DIGEST]
    assert asyncio.get_running_loop().time() < 27.0


@pytest.mark.parametrize("stripe", [0, 2])
async def test_where_the_index_node_names_only_nodes_that_have_nothing_it_ends(stripe: int) -> None:
    """They may wait for each other, in a circle, or say so."""
    world = HeldUp({one: Source(has=0) for one in (FIRST[stripe], *map(address, range(10, 40)))})
    world.held_up = frozenset(world.sources)
    with pytest.raises((SourceBroken, ContentNotFound)):
        await world.receive()
    assert world.given_up == [DIGEST]
    assert asyncio.get_running_loop().time() < 26.0


async def test_one_that_is_held_up_by_another_node_is_waited_for_as_long_as_one_that_gave_something() -> None:
    """The index node knows who gives the stripe to it; else it is at the top, or lies."""
    behind = Source(has=0, is_held_up=True)
    world = HeldUp({FIRST[2]: replace(behind)}, late_for=1000, givers={FIRST[2]: TOP})
    world.held_up = frozenset()
    slowly = {one: Source(rate=2_000.0) for one in FIRST if one != FIRST[2]}
    world.sources.update(slowly)

    async def comes() -> None:
        await asyncio.sleep(40.0)
        world.sources[FIRST[2]].has = None

    task = asyncio.ensure_future(comes())
    assert await world.receive() == DATA
    await task
    assert (world.changes, world.given_up) == ([], [])
    world = HeldUp({FIRST[2]: replace(behind), **slowly}, late_for=1000, givers={FIRST[2]: TOP})
    world.held_up = frozenset()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(SourceBroken, match="for long"):
        await world.receive()
    assert 45.0 <= asyncio.get_running_loop().time() - begun < 47.0
    world = HeldUp({FIRST[2]: replace(behind)}, late_for=1000)
    world.held_up = frozenset()
    begun = asyncio.get_running_loop().time()
    assert await world.receive() == DATA
    assert world.changes == [(2, (FIRST[2],), ())]
    assert asyncio.get_running_loop().time() - begun < 12.0


CIRCLES = {
    "itself": [FIRST[2]],
    "two in turn": [FIRST[2], FIRST[3]],
    "strangers": [address(200 + number) for number in range(12)],
}


@pytest.mark.parametrize("named", CIRCLES.values(), ids=CIRCLES.keys())
async def test_where_the_index_node_names_sources_that_refuse_again_and_again_it_ends_at_once(
    named: list[Address],
) -> None:
    refusing = {one: Source(answers=ContentNotFound("no")) for one in named}
    world = World({FIRST[2]: Source(answers=ContentNotFound("no")), **refusing}, further=named * 40)
    with pytest.raises(SourceBroken):
        await world.receive()
    assert world.given_up == [DIGEST]
    assert asyncio.get_running_loop().time() < (6.0 if FIRST[2] in named else 1.0)


async def test_one_source_may_give_all_stripes() -> None:
    world = World()
    body = await world.striper.follow(WANTED, WHOLE, ClaimReply((TOP,), stripes=(FIRST[0],) * STRIPES))
    sink = FakeSink()
    await body.send_to(sink)
    assert (bytes(sink.data), world.changes) == (DATA, [])


async def test_the_first_source_is_waited_for_while_nothing_comes_and_left_when_others_have_some() -> None:
    world = World({one: Source(has=0) for one in (FIRST[0], *FIRST[3:])})
    with pytest.raises(NotArrived):
        await world.body()
    assert not [*world.changes, *world.given_up, *world.late]
    world = World({FIRST[0]: Source(has=0)})
    assert await world.receive() == DATA
    assert (world.late, world.changes) == ([(0, FIRST[0])], [])


async def test_where_nothing_begins_to_come_for_long_it_is_got_as_a_whole() -> None:
    world = World({one: Source(has=0) for one in FIRST})
    for _ in range(2):
        with pytest.raises(NotArrived):
            await world.body()
    assert not world.given_up
    with pytest.raises(ContentNotFound):
        await world.body()
    assert world.given_up == [DIGEST]
    assert asyncio.get_running_loop().time() < 17.0
    assert not [*world.changes, *world.late]


async def test_a_source_that_lets_nobody_wait_is_asked_no_more_often_than_others() -> None:
    world = World({one: Source(has=0, waits_for_nobody=True) for one in FIRST})
    with pytest.raises(NotArrived):
        await world.body()
    assert len([one for one, _ in world.finds if one == FIRST[0]]) == len(WAITS)
    assert asyncio.get_running_loop().time() >= sum(WAITS)


async def test_a_source_that_is_named_again_is_asked_again_after_a_moment() -> None:
    """The word of one node that a top has failed is no proof: the index node names it for three seconds."""
    world = World({FIRST[0]: Source(answers=PeerSilent("nothing"))}, further=[FIRST[0]] * 5 + [address(20)])
    assert await world.receive() == DATA
    assert asyncio.get_running_loop().time() >= 5 * AGAIN_SECONDS


async def test_what_has_not_come_long_ago_or_has_begun_since_is_waited_for_anew() -> None:
    world = World({one: Source(has=0) for one in FIRST})
    for pause in (100.0, 0.0):
        with pytest.raises(NotArrived):
            await world.body()
        await asyncio.sleep(pause)
    nothing, world.sources = world.sources, {}
    assert await world.receive() == DATA
    world.sources = nothing
    await asyncio.sleep(8.0)
    with pytest.raises(NotArrived):
        await world.body()


@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize("stripes", [(4,), (2, 4)])
async def test_a_source_that_says_for_long_that_it_is_held_up_is_left(stripes: tuple[int, ...], kept: int) -> None:
    """It gives the least that a floor allows. The index node may know that another node is to be left first."""
    world = HeldUp({FIRST[stripe]: Source(rate=7_000.0) for stripe in stripes}, late_for=kept)
    assert await world.receive() == DATA
    assert {source for _, source in world.late} == {FIRST[stripe] for stripe in stripes}
    assert len(world.late) <= len(stripes) + kept
    assert asyncio.get_running_loop().time() < 12.0 + kept  # not 450
    assert not [*world.changes, *world.told_slow, *world.given_up]


@pytest.mark.parametrize("slow", [FIRST, FIRST[2:5:2]], ids=["all", "half as quickly"])
async def test_where_all_come_slowly_or_one_hardly_more_slowly_none_is_late(slow: tuple[Address, ...]) -> None:
    world = HeldUp({one: Source(rate=100_000.0 if slow is FIRST else 5_000_000.0) for one in slow})
    assert await world.receive() == DATA
    assert not [*world.late, *world.changes]


async def test_of_those_that_break_off_after_long_silence_one_that_has_no_more_itself_has_not_failed() -> None:
    """The node above is silent: all below it break off at the same moment."""
    silent = {one: Source(gives=2 * PIECE_BYTES, silence=15.0) for one in FIRST}
    world = HeldUp(silent)
    assert await world.receive() == DATA
    assert (4, FIRST[4]) in world.late
    assert (0, (FIRST[0],), ()) in world.changes, "it has more, and does not give it"
    assert (4, (FIRST[4],), ()) not in world.changes
    assert world.told_slow == []


async def test_one_that_a_check_left_was_asked_before_and_has_failed() -> None:
    silent = {one: Source(gives=2 * PIECE_BYTES, silence=15.0, is_left=True) for one in FIRST}
    world = HeldUp(silent)
    assert await world.receive() == DATA
    assert (4, (FIRST[4],), (FIRST[4],)) in world.changes
    assert world.late == []


async def test_one_that_breaks_off_again_or_soon_has_failed() -> None:
    silent = Source(gives=2 * PIECE_BYTES, silence=15.0)
    world = HeldUp(dict.fromkeys(FIRST, silent), late_for=100)  # it is named again, and breaks off again
    assert await world.receive() == DATA
    assert (4, (FIRST[4],), ()) in world.changes
    world = HeldUp({one: replace(silent, silence=3.0) for one in FIRST})
    assert await world.receive() == DATA
    assert sorted(world.changes) == [(number, (one,), ()) for number, one in enumerate(FIRST)]
    assert world.late == []


async def test_where_nothing_comes_to_anybody_for_a_while_no_source_is_at_fault() -> None:
    """The top is silent, say, and one stripe had not come as far as the others."""
    even = {one: Source(rate=1_000_000.0, pauses_at=17 * PIECE_BYTES) for one in FIRST}
    world = World({**even, FIRST[4]: Source(rate=600_000.0, pauses_at=10 * PIECE_BYTES)})
    assert await world.receive() == DATA
    assert not [*world.changes, *world.late, *world.told_slow]
    assert asyncio.get_running_loop().time() > 9.0


async def test_also_when_it_begins_to_give_nothing_near_the_end() -> None:
    world = HeldUp({FIRST[4]: Source(slow_end=2 * PIECE_BYTES)})
    assert await world.receive() == DATA
    assert world.late == [(4, FIRST[4])]
    assert asyncio.get_running_loop().time() < 12.0


async def test_more_than_there_is_is_an_error_of_its_source_and_comes_to_nobody() -> None:
    world = World({FIRST[1]: Source(too_much=b"x")})
    assert await world.receive() == DATA


@pytest.mark.parametrize("stripe", [0, 5])
async def test_where_no_node_gives_a_stripe_it_is_got_as_a_whole_for_a_while(stripe: int) -> None:
    world = World({FIRST[stripe]: Source(answers=ContentNotFound("no"))}, further=[])
    with pytest.raises((SourcesExhausted, ContentNotFound)):
        await world.receive()
    assert world.given_up == [DIGEST]


async def test_where_every_source_breaks_it_ends() -> None:
    world = World({address(number): Source(gives=1) for number in range(1, 60)})
    with pytest.raises(SourceBroken):
        await world.receive()
    assert len(world.changes) <= STRIPES * 12
    assert world.given_up == [DIGEST]


async def test_a_source_that_gives_slowly_what_it_has_is_told_so_and_left() -> None:
    world = World({FIRST[4]: Source(rate=200_000.0)})
    assert await world.receive() == DATA
    assert world.changes == [(4, (), (FIRST[4],))]
    assert world.told_slow == [FIRST[4]]
    assert asyncio.get_running_loop().time() < 3.0  # not 15


@pytest.mark.parametrize("count", [4, 5])
async def test_where_most_sources_give_slowly_each_of_them_is_left(count: int) -> None:
    """Of 300 nodes, 8 % of them slow, some begin with slow sources for half of their stripes."""
    slow = FIRST[:count]
    world = World({one: Source(rate=200_000.0) for one in slow})
    assert await world.receive() == DATA
    assert sorted(world.told_slow, key=str) == list(slow)
    assert asyncio.get_running_loop().time() < 3.0  # not 15


async def test_a_source_is_left_soon_after_others_have_reported_it_too() -> None:
    """The index node heard this node first, and was still to hear of the others."""
    world = Hearing({FIRST[4]: Source(rate=200_000.0)})
    assert await world.receive() == DATA
    (reported_at, reported), (asked_at, nothing) = world.heard
    assert (reported, nothing) == ((FIRST[4],), ())
    assert asked_at - reported_at < 2 * STRIPE_LOOK_SECONDS  # when the next report would come
    assert world.told_slow == [FIRST[4]]


class Hearing(World):
    """A moment after this node has reported its source, the index node names another one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heard: list[tuple[float, tuple[Address, ...]]] = []

    async def change_stripe(self, wanted: Sought, *, slow: tuple[Address, ...] = (), **other: Any) -> Address | None:
        if other.get("places") or other.get("is_late") or wanted.stripe != 4:
            return await super().change_stripe(wanted, slow=slow, **other)
        now = asyncio.get_running_loop().time()
        self.heard.append((now, slow))
        return self.further.pop(0) if now > self.heard[0][0] + 0.1 else FIRST[4]


async def test_a_stripe_that_comes_last_is_asked_for_once_at_a_source_with_few_followers() -> None:
    """All others are here: the links of most nodes are idle, and a few pass this one on."""
    world = World({FIRST[4]: Source(rate=2_900_000.0)}, with_few=address(50))
    assert await world.receive() == DATA
    assert world.spreads == [(4, 2)]
    assert not [*world.changes, *world.told_slow, *world.given_up]
    assert asyncio.get_running_loop().time() < 0.9  # not 1.1


@pytest.mark.parametrize(
    ("rates", "top"),
    [
        ({FIRST[4]: 8_000_000.0}, TOP),
        (dict.fromkeys(FIRST[:5], 2_900_000.0), TOP),
        ({FIRST[4]: 2_900_000.0}, FIRST[4]),
        ({}, TOP),
    ],
    ids=["is soon here", "comes with most others", "comes from the top", "comes like all"],
)
async def test_a_stripe_stays_where_it_is_that(rates: dict[Address, float], top: Address) -> None:
    world = World({one: Source(rate=rate) for one, rate in rates.items()}, with_few=address(50))
    body = await world.striper.follow(WANTED, WHOLE, ClaimReply((top,), stripes=FIRST))
    sink = FakeSink()
    await body.send_to(sink)
    assert bytes(sink.data) == DATA
    assert not [*world.spreads, *world.changes]


async def test_where_no_source_has_few_followers_or_an_index_node_of_before_is_asked_the_source_stays() -> None:
    for with_few in (None, FIRST[4]):
        world = World({FIRST[4]: Source(rate=2_900_000.0)}, with_few=with_few)
        assert await world.receive() == DATA
        assert world.spreads == [(4, 2)]
        assert not [*world.changes, *world.given_up]


async def test_a_source_is_left_once_however_long_that_takes() -> None:
    world = World({FIRST[4]: Source(rate=200_000.0, closing=1.0)})
    assert await world.receive() == DATA
    assert world.changes == [(4, (), (FIRST[4],))]


async def test_a_source_that_is_about_to_be_left_may_break_first() -> None:
    """It breaks while the index node is told of it."""
    world = Breaking({FIRST[4]: Source(rate=200_000.0)})
    assert await world.receive() == DATA
    assert world.given_up == []
    assert world.changes == [(4, (), (FIRST[4],)), (4, (FIRST[4],), ())]
    assert world.told_slow == []


class Breaking(World):
    """Each node that is reported for being slow breaks off at that moment; the index node answers a while later."""

    async def change_stripe(self, wanted: Sought, *, slow: tuple[Address, ...] = (), **other: Any) -> Address | None:
        found = await super().change_stripe(wanted, slow=slow, **other)
        for one in slow:
            self.breaks[one].set()
            await asyncio.sleep(0.1)
        return found


@pytest.mark.parametrize("answer", [FIRST[4], None], ids=["the same", "none"])
async def test_a_source_that_only_this_node_finds_slow_is_kept_and_reported_again_after_a_while(
    answer: Address | None,
) -> None:
    world = World({FIRST[4]: Source(rate=200_000.0)}, further=[answer] * 40 if answer else [])
    assert await world.receive() == DATA
    assert set(world.changes) == {(4, (), (FIRST[4],))}
    assert 10 < len(world.changes) < asyncio.get_running_loop().time() / (2 * STRIPE_LOOK_SECONDS)
    assert not [*world.told_slow, *world.given_up]


async def test_who_is_left_for_being_slow_is_told_so_later_and_nothing_waits_for_its_answer() -> None:
    world = Deaf({FIRST[4]: Source(rate=200_000.0)})
    assert await world.receive() == DATA
    assert world.told_slow == [FIRST[4]]
    assert asyncio.get_running_loop().time() < 3.0


class Deaf(World):
    """No node answers when it is told that it is slow."""

    def member(self, of: Address) -> Member | None:
        return Member(of, cast("Any", _DeafPeer(self, of)), own_id=NodeId("own"), on_change=lambda _: None)


@dataclass
class _DeafPeer(_Peer):
    async def tell_slow(self, wanted: Sought) -> None:
        await super().tell_slow(wanted)
        await asyncio.sleep(1000)


async def test_the_top_and_one_that_is_held_up_itself_are_not_left() -> None:
    """The second has no more of this stripe than it gives, and as much of the others as comes here."""
    world = World({FIRST[4]: Source(rate=200_000.0)})
    body = await world.striper.follow(WANTED, WHOLE, ClaimReply((FIRST[4],), stripes=FIRST))
    sink = FakeSink()
    await body.send_to(sink)
    assert (bytes(sink.data), world.changes) == (DATA, [])

    world = HeldUp({FIRST[4]: Source(rate=200_000.0)})
    assert await world.receive() == DATA
    assert not [*world.changes, *world.told_slow]


async def test_one_that_is_held_up_for_long_is_asked_less_and_less_often() -> None:
    world = HeldUp({FIRST[4]: Source(rate=20_000.0)}, late_for=1000)
    body = await world.body()
    task = asyncio.ensure_future(body.send_to(FakeSink()))
    await asyncio.sleep(4.0)
    world.looks.clear()
    world.tasks += 1  # which looks as it ends
    await asyncio.sleep(8.0)
    assert world.looks.count(FIRST[4]) in {6, 8, 10}  # two questions each time, every two seconds
    task.cancel()
    await asyncio.wait([task])


class HeldUp(World):
    """The sources of stripes 2 and 4, or others, have of each stripe as much as has come here."""

    held_up = frozenset({FIRST[2], FIRST[4]})

    def member(self, of: Address) -> Member | None:
        if of not in self.held_up:
            return super().member(of)
        return Member(of, cast("Any", _HeldUpPeer(self, of)), own_id=NodeId("own"), on_change=lambda _: None)


@dataclass
class _HeldUpPeer(_Peer):
    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        answer = await super().find(wanted, wait)
        board = self.world.inflows.board_of(DIGEST)
        if wait is not None or board is None or wanted.stripe is None:  # it has the next byte
            return answer
        content = GrowingContent(wanted.digest, reach(wanted.stripe, SIZE), None, board.reached[wanted.stripe])
        return replace(answer, content=said(content))


@pytest.mark.parametrize("pieces", [0, 1, 30, 150])
async def test_cancelled_in_the_middle_it_leaves_nothing(pieces: int) -> None:
    world = World({FIRST[3]: Source(rate=1_000_000.0)})
    task = asyncio.ensure_future(world.receive())
    await asyncio.sleep(0.004 + pieces * PIECE_BYTES / 10_000_000 / STRIPES)
    world.tasks += 1  # which looks as it ends
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.tasks -= 1
    world.require_nothing_left()


async def test_where_the_receiver_goes_away_nothing_is_left() -> None:
    world = World()
    body = await world.body()
    with pytest.raises(SinkClosed):
        await body.send_to(FakeSink(closes_after=3 * PIECE_BYTES))
    world.require_nothing_left()
    assert not world.given_up


# Doors that are asked for bytes at once


async def test_where_doors_are_known_only_the_first_source_is_asked_what_it_has() -> None:
    world = World(are_doors_known=True)
    assert await world.receive() == DATA
    assert world.finds == [(FIRST[0], 2.5)]
    assert (world.blame.givers, world.changes) == (set(FIRST), [])


@pytest.mark.parametrize(
    ("door", "seconds"), [(NOT_YET, 2.5), (SourceBroken("no connection"), 0.0)], ids=["refused", "out of reach"]
)
async def test_a_source_that_gives_nothing_at_once_is_asked_why(door: Exception, seconds: float) -> None:
    """One that is gone is found out without a wait."""
    world = World({FIRST[3]: Source(door=door)}, are_doors_known=True)
    assert await world.receive() == DATA
    assert world.finds == [(FIRST[0], 2.5), (FIRST[3], seconds)]
    assert world.changes == []


@pytest.mark.parametrize(("are_doors_known", "finds"), [(True, 1), (False, 2)], ids=["at its door", "asked first"])
async def test_a_source_that_has_nothing_yet_is_waited_for_as_long(*, are_doors_known: bool, finds: int) -> None:
    world = World({FIRST[3]: Source(has=0)}, are_doors_known=are_doors_known)
    parts = cast("Any", world), cast("Any", world.blame)
    sources = StripeSources(world, parts[0], blame=parts[1], limited=lambda _, body: body, watched=cast("Any", None))
    with pytest.raises(NotArrived):
        await sources.open(FIRST[3], replace(WANTED, stripe=3), 0, SIZE, is_top=False)
    assert world.finds == [(FIRST[3], 2.5)] * finds
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.1)


async def test_a_source_that_is_busy_is_replaced_without_a_question() -> None:
    world = World({FIRST[3]: Source(door=PeerDeclined("busy"))}, are_doors_known=True)
    assert await world.receive() == DATA
    assert world.finds == [(FIRST[0], 2.5)]
    assert world.changes == [(3, (FIRST[3],), ())]


async def test_no_door_is_asked_for_what_was_wrong_lately() -> None:
    world = World(are_doors_known=True)
    body = await world.body()
    world.blame.is_tainted = True
    with pytest.raises(SourceBroken, match="was wrong lately"):
        await body.send_to(FakeSink())
    assert not world.blame.givers - {FIRST[0]}
