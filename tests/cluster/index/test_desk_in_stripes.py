"""Many nodes claim the same layer at the same moment: an index node tells them where its stripes come from."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import WAVE_SECONDS, IndexState, Quotas
from registryd.cluster.index.rush import GATHERED_SECONDS
from registryd.cluster.index.stripes import StripeTrees
from registryd.cluster.index.tree import FollowerTree
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.looptime

MIB = 1 << 20
DIGEST = Digest.of(b"layer")


def place(number: int, *, port: int = 3173) -> NodeLocation:
    return NodeLocation(Address(f"10.0.{number >> 8}.{number & 255}", port))


def claim(number: int, *, digest: Digest = DIGEST, rank: int | None = None) -> Claim:
    return Claim(digest, place(number), 100 * MIB, rank=rank, takes_stripes=True)


class Desk:
    """An index node, whose clock may be put forward."""

    def __init__(self, *, stripes_from: int = 5, members: int = 10_000, quotas: Quotas | None = None) -> None:
        self.later = 0.0
        self.state = IndexState(
            NodeId("desk"), self.clock, count_members=lambda: members, quotas=quotas, stripes_from=stripes_from
        )

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.later

    async def decide(self, claims: Iterable[Claim]) -> list[ClaimReply]:
        return await asyncio.gather(*map(self.state.decide, claims))

    @property
    def waves(self) -> int:
        return len(self.state._waves)


async def test_where_stripes_are_off_a_claim_costs_no_look_at_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 3,000 nodes in a wave such a look was ten times as much work as all the rest of a claim."""

    def not_wanted(*_: object) -> None:
        raise AssertionError("nothing is arranged")

    for part in ("Rush", "StripeTrees"):
        monkeypatch.setattr(f"registryd.cluster.index.wave.{part}", not_wanted)
    desk = Desk(stripes_from=0)
    first, second = await desk.decide([claim(1), claim(2)])
    assert (first.sources, second.sources) == ((), (place(1).address,))
    assert not second.stripes


async def test_those_that_come_at_once_get_it_in_stripes_from_each_other_and_the_first_from_elsewhere() -> None:
    desk = Desk()
    first, *others = await desk.decide(map(claim, range(1, 31)))
    assert first == ClaimReply(is_new=True, view=first.view, rank=0)
    own = place(1).address
    for number, reply in enumerate(others, 2):
        assert reply.sources == (own,)
        assert len(reply.stripes) == STRIPES
        assert place(number).address not in reply.stripes
    assert asyncio.get_running_loop().time() == pytest.approx(GATHERED_SECONDS)


async def test_who_gives_a_stripe_to_a_node_is_told() -> None:
    desk = Desk()
    _, *others = await desk.decide(map(claim, range(1, 31)))
    for number, reply in enumerate(others, 2):
        for stripe in range(STRIPES):
            question = Claim(DIGEST, place(99), is_question=True, beside=place(number).address, stripe=stripe)
            assert desk.state.claim(question).sources == (reply.stripes[stripe],)
    for nobody in (1, 98):
        question = Claim(DIGEST, place(99), is_question=True, beside=place(nobody).address, stripe=0)
        assert desk.state.claim(question).sources == ()
    assert len(desk.state) == 30


async def test_who_goes_on_without_stripes_has_the_source_of_the_whole() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 31)))
    whole = desk.state.claim(replace(claim(5), takes_stripes=False))
    question = Claim(DIGEST, place(99), is_question=True, beside=place(5).address, stripe=3)
    assert desk.state.claim(question).sources == whole.sources


async def test_too_few_get_it_as_a_whole() -> None:
    replies = await Desk().decide(map(claim, range(1, 5)))
    assert not any(reply.stripes for reply in replies)
    assert [bool(reply.sources) for reply in replies] == [False, True, True, True]


async def test_one_that_takes_no_stripes_gets_it_as_a_whole_beside_the_others() -> None:
    desk = Desk()
    replies = await desk.decide([*map(claim, range(1, 31)), replace(claim(31), takes_stripes=False)])
    assert all(reply.stripes for reply in replies[1:30])
    assert replies[30].sources == (place(1).address,)
    assert not replies[30].stripes


async def test_one_that_goes_on_without_stripes_is_named_for_none_any_more() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 31)))
    whole = desk.state.claim(replace(claim(5), takes_stripes=False))
    assert whole.sources == (place(1).address,)
    late = await desk.decide(map(claim, range(100, 140)))
    assert all(reply.stripes for reply in late)
    assert not [reply for reply in late if place(5).address in reply.stripes]


async def slow_start(desk: Desk) -> list[ClaimReply]:
    """Three get it below each other; then thirty more come, of which the first four do so, too."""
    await desk.decide(map(claim, range(1, 4)))
    desk.later = 1.0
    return await desk.decide(map(claim, range(101, 131)))


async def test_when_starts_quicken_the_last_of_those_that_get_it_as_a_whole_is_at_the_top() -> None:
    replies = await slow_start(Desk())
    assert [bool(reply.stripes) for reply in replies] == [False] * 4 + [True] * 26
    whole = [place(3), *map(place, range(101, 104))]
    assert [reply.sources for reply in replies[:4]] == [(each.address,) for each in whole]
    top = place(104).address
    for reply in replies[4:]:
        assert reply.sources == (top,)
        assert not {each.address for each in (place(1), place(2), *whole)} & set(reply.stripes)


async def test_when_that_one_fails_its_successor_gets_it_from_the_others_and_not_from_the_origin() -> None:
    desk = Desk()
    replies = await slow_start(desk)
    top = place(104).address
    below = [(n, reply.stripes.index(top)) for n, reply in enumerate(replies, 101) if top in reply.stripes]
    changes = [replace(claim(n), takes_stripes=False, failed=(top,), stripe=stripe) for n, stripe in below[:2]]
    assert [desk.state.claim(change).sources for change in changes] == [(top,), ()]
    successor = replace(claim(below[1][0]), takes_stripes=False)
    (source,) = desk.state.claim(successor).sources
    assert source in {place(number).address for number in (1, 2, 3, 101, 102, 103)}


async def test_one_that_has_children_or_cannot_give_stripes_is_not_at_the_top() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 4)))
    desk.later = 1.0
    await desk.decide([replace(claim(50), takes_stripes=False)])
    replies = await desk.decide(map(claim, range(101, 131)))
    assert {reply.sources for reply in replies if reply.stripes} == {(place(104).address,)}


@pytest.mark.parametrize(("members", "count", "is_striped"), [(255, 63, False), (255, 64, True), (256, 16, True)])
async def test_in_a_large_cluster_a_quarter_is_enough(members: int, count: int, *, is_striped: bool) -> None:
    replies = await Desk(stripes_from=64, members=members).decide(map(claim, range(1, count + 1)))
    assert any(reply.stripes for reply in replies) is is_striped


async def test_where_it_may_come_in_stripes_each_passes_it_on_to_one_whatever_else_it_passes_on() -> None:
    """A node at the top whose only child had no place for others sent each layer twice, and all got half the rate."""

    def leaf(number: int) -> Claim:
        return replace(claim(number, rank=number - 1), below=place(number - 1).address, places=0)

    desk = Desk(stripes_from=64)
    replies = await desk.decide([claim(1, rank=0), leaf(2), leaf(3)])
    assert [reply.sources for reply in replies] == [(), (place(1).address,), (place(2).address,)]
    other = Desk(stripes_from=64)
    first, *others = [claim(1, rank=0), leaf(2), leaf(3)]
    replies = await other.decide([first, *(replace(each, takes_stripes=False) for each in others)])
    assert [reply.sources for reply in replies[1:]] == [(place(1).address,)] * 2


async def test_one_that_waits_for_a_node_that_has_not_come_is_not_at_the_top() -> None:
    """It would wait for its predecessor, which would get stripes from it."""
    desk = Desk()
    await desk.decide(map(claim, range(1, 4)))
    desk.state.claim(replace(claim(50, rank=49), below=place(49).address))
    desk.later = 0.5
    replies = await desk.decide(map(claim, (*range(101, 131), 49)))
    assert {reply.sources for reply in replies if reply.stripes} == {(place(104).address,)}


async def test_one_below_a_node_that_went_away_and_came_back_is_not_at_the_top() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 4)))
    desk.state.announce(Announcement(place(2), is_all=True))
    desk.later = 1.0
    replies = await desk.decide(map(claim, (*range(101, 131), 2)))
    assert replies[-1].stripes
    assert {reply.sources for reply in replies if reply.stripes} != {(place(3).address,)}


async def test_the_successor_of_the_top_looks_in_other_zones_before_the_origin() -> None:
    def far(number: int) -> Claim:
        return replace(claim(number), claimant=NodeLocation(place(number).address, "far"))

    desk = Desk()
    await desk.decide(map(claim, range(1, 4)))
    desk.later = 1.0
    replies = await desk.decide(map(far, range(101, 131)))
    top = place(104).address
    below = [(n, reply.stripes.index(top)) for n, reply in enumerate(replies, 101) if top in reply.stripes]
    gave_up, *successors = below
    desk.state.claim(replace(far(gave_up[0]), takes_stripes=False))
    desk.state.announce(Announcement(place(101), is_all=True))
    for number in (101, 102, 103):
        desk.state.announce(Announcement(place(number), is_all=True))
    for number, stripe in successors[:2]:
        desk.state.claim(replace(far(number), takes_stripes=False, failed=(top,), stripe=stripe))
    (source,) = desk.state.claim(replace(far(successors[1][0]), takes_stripes=False)).sources
    assert source in {place(number).address for number in (1, 2, 3)}


async def test_claims_of_nodes_that_have_a_place_say_nothing_about_those_that_come() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 4)))
    desk.later = 1.0
    coming = asyncio.gather(*map(desk.state.decide, map(claim, range(101, 121))))
    await asyncio.sleep(0.05)
    for number in (1, 2, 3):
        desk.state.claim(replace(claim(number), takes_stripes=False))
    assert [bool(reply.stripes) for reply in await coming] == [False] * 4 + [True] * 16


async def test_claims_of_either_kind_in_turn_do_not_weigh_the_whole_tree_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed = []
    monkeypatch.setattr(FollowerTree, "reweigh", lambda _, weight: weighed.append(weight))
    desk = Desk(stripes_from=64)
    for number in range(1, 500):
        desk.state.claim(replace(claim(number), takes_stripes=number % 11 != 0))
    assert len(weighed) < 10


async def test_one_that_is_to_fetch_in_place_of_the_top_does_not_wait_for_one_that_gets_stripes_from_it() -> None:
    """In a chain a node waits for the one that claimed the manifest before it, until that claims the layer, too."""
    desk = Desk(members=30)
    top = place(1).address
    _, *others = await desk.decide(map(claim, range(1, 31)))
    below = [(number, reply) for number, reply in enumerate(others, 2) if top in reply.stripes]
    changes = [
        replace(claim(number), takes_stripes=False, failed=(top,), stripe=reply.stripes.index(top))
        for number, reply in below[:2]
    ]
    assert desk.state.claim(changes[0]).sources == (top,)  # once more: the report of one node is no proof
    assert desk.state.claim(changes[1]).sources == ()
    number = below[1][0]
    begun = asyncio.get_running_loop().time()
    whole = replace(claim(number, rank=number), takes_stripes=False, below=place(30 if number < 30 else 29).address)
    assert (await desk.state.decide(whole)).sources == ()
    assert asyncio.get_running_loop().time() == begun


async def test_the_node_at_the_top_waits_for_none_of_those_that_are_receiving_it() -> None:
    """One that gave its stripes up before is fetching it as well; all that are in stripes wait for the top."""
    desk = Desk()
    top = place(1).address
    _, *others = await desk.decide(map(claim, range(1, 31)))
    alone, *below = [(number, reply) for number, reply in enumerate(others, 2) if top in reply.stripes]
    assert desk.state.claim(replace(claim(alone[0]), takes_stripes=False, failed=(top,))).sources == ()
    found = [
        desk.state.claim(replace(claim(number), takes_stripes=False, failed=(top,), stripe=reply.stripes.index(top)))
        for number, reply in below[:2]
    ]
    assert [reply.sources for reply in found] == [(top,), ()]
    number = below[1][0]
    assert desk.state.claim(replace(claim(number), takes_stripes=False)).sources == ()
    assert desk.state.claim(replace(claim(number), takes_stripes=False, slow=(place(99).address,))).sources == ()
    desk.state.announce(Announcement(place(77), held=(DIGEST,)))
    assert desk.state.claim(replace(claim(number), takes_stripes=False)).sources == (place(77).address,)


async def test_one_that_others_follow_as_a_whole_gets_it_as_a_whole() -> None:
    """Else nodes could wait for each other: one gets all by way of the other, and gives a stripe of it to that one."""
    desk = Desk()
    await desk.decide([replace(claim(number), takes_stripes=False) for number in range(1, 5)])
    desk.later = 1.0
    await desk.decide(map(claim, range(50, 90)))
    (again,) = await desk.decide([claim(2)])
    assert not again.stripes


async def test_the_top_that_asks_again_does_not_wait() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 31)))
    begun = desk.clock()
    (again,) = await desk.decide([claim(1)])
    assert (again.sources, again.stripes, desk.clock()) == ((), (), begun)


async def go_away(desk: Desk, claims: Iterable[Claim], *, after: float) -> None:
    waiting = [asyncio.ensure_future(desk.state.decide(each)) for each in claims]
    await asyncio.sleep(after)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_those_that_go_away_while_they_wait_are_forgotten() -> None:
    desk = Desk()
    await desk.decide([claim(1)])
    await go_away(desk, map(claim, range(2, 40)), after=0.1)
    await asyncio.sleep(0.1)
    replies = await desk.decide([claim(50)])
    assert not replies[0].stripes
    assert len(desk.state) == 2


async def test_a_wave_with_stripes_ends_as_others_do_whoever_has_gone_away_meanwhile() -> None:
    """An index node that knew of a node in the trees that it could not forget looked for it in an endless loop."""
    desk = Desk(stripes_from=3)
    going = asyncio.ensure_future(go_away(desk, map(claim, range(100, 120)), after=GATHERED_SECONDS))
    await desk.decide([claim(1)])
    await desk.decide(map(claim, range(2, 20)))
    await going
    desk.later = WAVE_SECONDS + 1.0
    await desk.decide([claim(1, digest=Digest.of(b"other"))])
    assert (desk.waves, len(desk.state)) == (1, 1)


async def test_what_is_kept_of_nodes_in_stripes_is_within_the_quotas() -> None:
    desk = Desk(quotas=Quotas(spots=50, spots_of_node=10))
    for number in range(20):
        digest = Digest.of(str(number).encode())
        await desk.decide(claim(node, digest=digest) for node in range(1, 31))
    assert len(desk.state) <= 50


async def test_one_host_with_many_ports_has_few_places() -> None:
    desk = Desk()
    await desk.decide([claim(1)])
    claims = [replace(claim(2), claimant=place(2, port=port)) for port in range(1, 1000)]
    await desk.decide(claims)
    assert len(desk.state) <= 65


async def test_nodes_that_drop_it_leave_nothing() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 31)))
    for number in range(1, 31):
        desk.state.announce(Announcement(place(number), is_all=True))
    assert (desk.waves, len(desk.state)) == (0, 0)


async def test_an_index_node_survives_one_that_was_said_to_fetch_it_no_longer() -> None:
    desk = Desk()
    desk.state.claim(replace(claim(1), is_ahead=True))
    assert desk.state.claim(replace(claim(2), is_ahead=True)).sources == (place(1).address,)
    desk.state.claim(replace(claim(2), failed=(place(1).address,)))
    desk.state.announce(Announcement(place(2), is_all=True))
    desk.state.announce(Announcement(place(1), is_all=True))
    assert (desk.waves, len(desk.state)) == (0, 0)


async def test_when_all_have_it_anyone_gets_it_as_a_whole() -> None:
    desk = Desk()
    await desk.decide(map(claim, range(1, 31)))
    for number in range(1, 31):
        desk.state.announce(Announcement(place(number), held=(DIGEST,), gives_stripes=True))
    begun = desk.clock()
    (reply,) = await desk.decide([claim(50)])
    assert (reply.is_whole, reply.stripes, desk.clock()) == (True, (), begun)


async def test_when_many_more_come_at_once_than_have_it_those_that_have_it_are_at_the_top() -> None:
    desk = Desk()
    await desk.decide([claim(1)])
    for number in range(1, 11):
        desk.state.announce(Announcement(place(number), held=(DIGEST,), gives_stripes=True))
    replies = await desk.decide(map(claim, range(100, 200)))
    wholes, striped = [[reply for reply in replies if bool(reply.stripes) is are] for are in (False, True)]
    assert len(wholes) == 10
    assert all(reply.is_whole for reply in wholes)
    tops = {address for reply in striped for address in reply.stripes} & {place(each).address for each in range(1, 11)}
    assert len(tops) == STRIPES


async def test_when_those_that_have_it_give_no_stripes_they_give_all_of_it() -> None:
    desk = Desk()
    await desk.decide([claim(1)])
    for number in range(1, 11):
        desk.state.announce(Announcement(place(number), held=(DIGEST,)))
    replies = await desk.decide(map(claim, range(100, 200)))
    assert not any(reply.stripes for reply in replies)
    assert all(reply.sources for reply in replies)


async def test_a_wave_of_5_000_takes_few_bytes_for_each() -> None:
    desk = Desk()
    await desk.decide([claim(1)])
    tracemalloc.start(1)
    try:
        before, _ = tracemalloc.get_traced_memory()
        replies = await desk.decide(map(claim, range(2, 5001)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(reply.stripes for reply in replies)
    assert (after - before) / 5000 < 8000


def test_arranging_takes_no_longer_for_each_of_many() -> None:
    def seconds(count: int) -> float:
        trees = StripeTrees()
        trees.lead(place(0))
        begun = time.process_time()
        trees.join([(place(number), False) for number in range(1, count)])
        return (time.process_time() - begun) / count

    few = min(seconds(500) for _ in range(3))
    assert min(seconds(4000) for _ in range(2)) < 4 * few


async def come(desk: Desk, claims: Iterable[Claim]) -> list[ClaimReply]:
    """One after the other, a moment apart."""
    waiting = []
    for each in claims:
        waiting.append(asyncio.ensure_future(desk.state.decide(each)))
        await asyncio.sleep(0.001)
    return await asyncio.gather(*waiting)


def line(count: int) -> list[Claim]:
    """The claims for a later layer: each node has a place below the one that came before it for the first layer."""
    return [claim(1, rank=0), *(replace(claim(n, rank=n - 1), below=place(n - 1).address) for n in range(2, count + 1))]


async def test_those_that_wait_in_line_for_the_first_get_it_in_stripes_when_that_comes() -> None:
    first, *others = line(30)
    *replies, top = await come(Desk(members=100), [*others, first])
    assert top.sources == ()
    assert [bool(reply.stripes) for reply in replies] == [True] * 29
    assert asyncio.get_running_loop().time() == pytest.approx(0.029 + GATHERED_SECONDS, abs=0.002)


async def test_those_whose_predecessors_do_not_come_get_it_in_stripes_with_the_others() -> None:
    first, *others = line(30)
    some = [each for number, each in enumerate(others) if number % 3]
    *replies, _ = await come(Desk(members=100), [*some, first])
    assert [bool(reply.stripes) for reply in replies] == [True] * len(some)


async def test_slow_ones_that_come_before_the_first_get_it_in_stripes_with_the_others() -> None:
    early = [replace(claim(100 + number), is_slow=True) for number in range(5)]
    replies = await come(Desk(), [*early, *map(claim, range(1, 31))])
    assert [bool(reply.stripes) for reply in replies] == [True] * 5 + [False] + [True] * 29
