from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from registryd.cluster.contract.index import MAX_UNHEARD, Announcement, Claim, ClaimReply, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import WAVE_SECONDS, YOUNG_SECONDS, IndexState, Quotas
from registryd.cluster.index.view import View
from registryd.cluster.index.wave import LINE_SECONDS, SEVERAL, SOURCES
from registryd.notation import Address
from registryd.oci.digest import Digest

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def place(number: int) -> NodeLocation:
    return NodeLocation(Address(f"10.0.{number >> 8}.{number & 255}", 3173))


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


def make(quotas: Quotas | None = None) -> tuple[IndexState, Clock]:
    clock = Clock()
    return IndexState(NodeId("desk"), clock, quotas=quotas), clock


def test_each_digest_has_a_wave_of_its_own() -> None:
    desk, _ = make()
    assert not desk.claim(Claim(digest(1), place(1))).sources
    assert not desk.claim(Claim(digest(2), place(2))).sources
    assert desk.claim(Claim(digest(1), place(2))).sources == (place(1).address,)


def test_what_is_announced_is_found_and_what_is_dropped_is_not() -> None:
    desk, _ = make()
    assert desk.announce(Announcement(place(1), held=(digest(1), digest(2)))).by == NodeId("desk")
    question = Claim(digest(1), place(2), is_question=True)
    assert desk.claim(question).sources == (place(1).address,)
    desk.announce(Announcement(place(1), dropped=(digest(1), digest(99))))
    assert not desk.claim(question).sources
    assert desk.claim(Claim(digest(2), place(2), is_question=True)).sources


def test_who_gets_it_from_several_is_told_of_more() -> None:
    desk, _ = make()
    for number in range(1, 31):
        desk.announce(Announcement(place(number), held=(digest(1),)))
    few = desk.claim(Claim(digest(1), place(40), is_question=True)).sources
    several = desk.claim(Claim(digest(1), place(40), places=8, is_question=True)).sources
    most = desk.claim(Claim(digest(1), place(40), places=1000, is_question=True)).sources
    assert [len(few), len(several), len(most)] == [SOURCES, 8, SEVERAL]
    assert len(set(most)) == SEVERAL


def test_who_gets_it_from_several_is_told_of_near_ones_only() -> None:
    desk, _ = make()
    for number in range(1, 11):
        desk.announce(Announcement(NodeLocation(place(number).address, "a" if number < 4 else "b"), held=(digest(1),)))
    claimant = NodeLocation(place(40).address, "a")
    named = desk.claim(Claim(digest(1), claimant, places=8, is_question=True)).sources
    assert set(named) == {place(number).address for number in (1, 2, 3)}


def test_a_claimant_is_told_of_a_holder_that_gives_it_to_nobody_where_it_would_follow_one_that_is_receiving() -> None:
    desk, _ = make()
    for number in (1, 2):
        desk.announce(Announcement(place(number), held=(digest(1),)))
    first = desk.claim(Claim(digest(1), place(3), MIB))
    assert (first.idle, first.is_whole) == (None, True)
    claim = Claim(digest(1), place(4), MIB, below=place(3).address)
    assert desk.claim(replace(claim, is_question=True)).idle is None, "a question takes no place"
    second = desk.claim(claim)
    assert second.sources[0] == place(3).address
    assert second.idle in {place(1).address, place(2).address} - {first.sources[0]}


def test_a_question_leaves_nothing_behind() -> None:
    desk, _ = make()
    desk.claim(Claim(digest(1), place(1), is_question=True))
    assert len(desk) == 0


def test_a_node_that_withdraws_is_forgotten() -> None:
    desk, _ = make()
    desk.announce(Announcement(place(1), held=[digest(number) for number in range(10)]))
    desk.claim(Claim(digest(50), place(1)))
    desk.announce(Announcement(place(1), is_all=True))
    assert len(desk) == 0
    assert not desk.claim(Claim(digest(50), place(2))).sources


def test_all_that_a_node_has_replaces_what_it_had() -> None:
    desk, _ = make()
    desk.announce(Announcement(place(1), held=(digest(1), digest(2))))
    desk.announce(Announcement(place(1), held=(digest(2), digest(3)), is_all=True))
    assert len(desk) == 2
    assert not desk.claim(Claim(digest(1), place(2), is_question=True)).sources


def test_a_node_has_only_its_share_of_the_memory() -> None:
    desk, _ = make(Quotas(spots=1000, spots_of_node=10))
    desk.announce(Announcement(place(2), held=(digest(0),)))
    desk.announce(Announcement(place(1), held=[digest(number) for number in range(1, 101)]))
    assert len(desk) == 11
    assert desk.claim(Claim(digest(0), place(3), is_question=True)).sources
    assert desk.claim(Claim(digest(100), place(3), is_question=True)).sources
    assert not desk.claim(Claim(digest(1), place(3), is_question=True)).sources


def test_all_nodes_together_have_a_bound_too() -> None:
    desk, _ = make(Quotas(spots=50, spots_of_node=10))
    for number in range(1, 200):
        desk.claim(Claim(digest(number), place(number)))
    assert len(desk) == 50


def test_what_nobody_confirms_is_forgotten() -> None:
    desk, clock = make()
    desk.announce(Announcement(place(1), held=(digest(1),)))
    clock.now = WAVE_SECONDS - 1
    assert desk.claim(Claim(digest(1), place(2), is_question=True)).sources
    clock.now = WAVE_SECONDS + 1
    desk.claim(Claim(digest(2), place(2)))
    assert not desk.claim(Claim(digest(1), place(3), is_question=True)).sources


def test_a_young_index_node_says_so() -> None:
    desk, clock = make()
    assert desk.claim(Claim(digest(1), place(1))).is_new
    clock.now = YOUNG_SECONDS
    assert not desk.claim(Claim(digest(1), place(1))).is_new


def virtual_desk(members: int = 0) -> IndexState:
    return IndexState(NodeId("desk"), now, count_members=lambda: members)


def now() -> float:
    return asyncio.get_running_loop().time()


def below(number: int, predecessor: int, *, places: int | None = None) -> Claim:
    return Claim(digest(1), place(number), 100 << 20, below=place(predecessor).address, places=places)


@pytest.mark.looptime
async def test_a_claim_waits_for_the_one_that_came_before_it() -> None:
    desk = virtual_desk()
    waiting = [asyncio.create_task(desk.decide(below(number, number - 1))) for number in (3, 2)]
    await asyncio.sleep(LINE_SECONDS / 2)
    assert not (await desk.decide(Claim(digest(1), place(1), 100 << 20))).sources
    third, second = [await task for task in waiting]
    assert (second.sources, third.sources) == ((place(1).address,), (place(2).address,))
    assert now() == pytest.approx(LINE_SECONDS / 2)


@pytest.mark.looptime
async def test_one_that_does_not_claim_is_not_waited_for_long() -> None:
    desk = virtual_desk()
    verdict = await desk.decide(below(2, 1))
    assert not verdict.sources
    assert verdict.is_below_missing
    assert now() == pytest.approx(LINE_SECONDS)
    verdict = await desk.decide(below(3, 2))
    assert verdict.sources == (place(2).address,)
    assert not verdict.is_below_missing
    assert now() == pytest.approx(LINE_SECONDS)


@pytest.mark.looptime
async def test_a_wait_that_is_cancelled_leaves_the_others_waiting() -> None:
    desk = virtual_desk()
    cancelled, other = [asyncio.create_task(desk.decide(below(number, 1))) for number in (2, 3)]
    await asyncio.sleep(LINE_SECONDS / 2)
    cancelled.cancel()
    await asyncio.sleep(0)
    await desk.decide(Claim(digest(1), place(1), 100 << 20))
    assert (await other).sources == (place(1).address,)


@pytest.mark.looptime
async def test_in_a_tree_those_that_pass_nothing_on_come_last() -> None:
    desk = virtual_desk(members=1000)
    leaf = asyncio.create_task(desk.decide(below(2, 1, places=0)))
    await asyncio.sleep(LINE_SECONDS / 4)
    assert not (await desk.decide(below(3, 2, places=3))).sources
    assert (await desk.decide(below(4, 3, places=3))).sources == (place(3).address,)
    assert now() == pytest.approx(LINE_SECONDS / 4)
    assert (await leaf).sources == (place(3).address,)
    assert now() == pytest.approx(LINE_SECONDS)


@pytest.mark.looptime
async def test_one_that_is_slow_lets_others_go_before_it_and_goes_itself_when_nobody_comes() -> None:
    desk = virtual_desk()
    slow = asyncio.create_task(desk.decide(replace(below(1, 9), is_slow=True)))
    await asyncio.sleep(LINE_SECONDS / 4)
    assert not (await desk.decide(Claim(digest(1), place(2), 100 << 20))).sources
    assert (await slow).sources == (place(2).address,)
    alone = await desk.decide(Claim(digest(2), place(1), 100 << 20, is_slow=True))
    assert (alone.sources, alone.is_below_missing) == ((), False)
    assert now() == pytest.approx(2 * LINE_SECONDS)


@pytest.mark.looptime
async def test_a_question_is_answered_at_once() -> None:
    desk = virtual_desk()
    question = Claim(digest(1), place(2), is_question=True, below=place(1).address)
    assert not (await desk.decide(question)).sources
    assert now() == 0


def desk_of(*members: int, quotas: Quotas | None = None) -> tuple[IndexState, View, Clock]:
    view = View.of(frozenset(place(number).address for number in members))
    clock = Clock()
    return IndexState(NodeId("desk"), clock, view=lambda: view, quotas=quotas), view, clock


def tells_all(desk: IndexState, view: View, number: int, *held: int) -> None:
    digests = tuple(map(digest, held))
    process = NodeId(f"process-{number}")
    desk.announce(Announcement(place(number), digests, process=process, view=view.name, complete_at=NodeId("desk")))


def asked(desk: IndexState, number: int, *, by: int = 9) -> ClaimReply:
    return desk.claim(Claim(digest(number), place(by), is_question=True))


def test_when_all_have_told_everything_nobody_is_left_to_be_asked() -> None:
    desk, view, _ = desk_of(1, 2)
    tells_all(desk, view, 1, 50)
    tells_all(desk, view, 2)
    assert asked(desk, 60) == ClaimReply(is_new=True, view=view.name)
    assert asked(desk, 50).sources == (place(1).address,)
    assert desk.claim(Claim(digest(60), place(1))).view == view.name


def test_who_has_not_told_everything_is_left_to_be_asked() -> None:
    desk, view, _ = desk_of(1, 2)
    tells_all(desk, view, 1)
    assert asked(desk, 60) == ClaimReply(is_new=True, view=view.name, unheard=(place(2).address,))


def test_when_many_have_not_others_may_have_it() -> None:
    desk, _, _ = desk_of(*range(1, MAX_UNHEARD + 1))
    assert asked(desk, 60).view
    desk, _, _ = desk_of(*range(1, MAX_UNHEARD + 2))
    assert not asked(desk, 60).view


def test_a_desk_without_a_view_rules_nobody_out() -> None:
    desk, _ = make()
    assert asked(desk, 60).view == 0


def test_what_somebody_else_has_claimed_is_not_nowhere_even_when_he_is_not_named() -> None:
    desk, view, _ = desk_of(1, 2)
    tells_all(desk, view, 1)
    tells_all(desk, view, 2)
    assert desk.claim(Claim(digest(60), place(1))).view == view.name
    named = desk.claim(Claim(digest(60), place(2)))
    assert named == ClaimReply((place(1).address,), is_new=True, before=place(1).address, rank=1)
    refused = desk.claim(Claim(digest(60), place(2), failed=(place(1).address,)))
    assert (refused.sources, refused.view) == ((), 0)


def test_what_is_arriving_somewhere_is_not_nowhere_and_is_named_to_nobody() -> None:
    desk, view, _ = desk_of(1)
    tells_all(desk, view, 1)
    desk.announce(
        Announcement(
            place(1),
            arriving=(digest(60),),
            process=NodeId("process-1"),
            view=view.name,
            complete_at=NodeId("desk"),
        )
    )
    assert (asked(desk, 60).sources, asked(desk, 60).view) == ((), 0)
    assert asked(desk, 61).view == view.name
    desk.announce(Announcement(place(1), dropped=(digest(60),), process=NodeId("process-1"), view=view.name))
    assert asked(desk, 60).view == view.name


def test_whoever_told_more_than_is_kept_is_asked() -> None:
    desk, view, _ = desk_of(1, 2, quotas=Quotas(spots=1000, spots_of_node=10))
    tells_all(desk, view, 1, *range(20))
    tells_all(desk, view, 2, *range(10))
    assert asked(desk, 60).unheard == (place(1).address,)


def test_whoever_was_forgotten_for_the_sake_of_others_is_asked() -> None:
    desk, view, _ = desk_of(1, 2, quotas=Quotas(spots=15, spots_of_node=10))
    tells_all(desk, view, 1, *range(10))
    tells_all(desk, view, 2, *range(100, 110))
    assert asked(desk, 60).unheard == (place(1).address,)


def test_a_claim_that_was_forgotten_because_it_is_old_makes_nobody_suspect() -> None:
    desk, view, clock = desk_of(1)
    desk.claim(Claim(digest(50), place(1)))
    clock.now = WAVE_SECONDS
    tells_all(desk, view, 1, 51)
    assert asked(desk, 50) == ClaimReply(view=view.name)


def test_it_is_said_whether_those_who_are_named_have_all_of_it() -> None:
    desk, _ = make()
    desk.announce(Announcement(place(1), (digest(1),)))
    desk.announce(Announcement(place(2), (digest(1),)))
    assert asked(desk, 1).is_whole
    desk.claim(Claim(digest(1), place(3)))
    assert not asked(desk, 1).is_whole
    desk.claim(Claim(digest(2), place(1)))
    assert not asked(desk, 2).is_whole


# What has not been asked for yet, and what cannot wait


def test_each_is_told_how_many_came_before_it() -> None:
    desk, _ = make()
    assert [desk.claim(Claim(digest(1), place(number))).rank for number in (1, 2, 3)] == [0, 1, 2]
    assert desk.claim(Claim(digest(1), place(2))).rank == 1
    assert desk.claim(Claim(digest(1), place(9), is_question=True)).rank is None
    assert desk.claim(Claim(digest(1), place(9), is_pressed=True)).rank is None


def test_one_that_is_pressed_takes_one_place_in_the_memory_and_is_forgotten_like_the_others() -> None:
    desk, _ = make()
    for _ in range(3):
        assert not desk.claim(Claim(digest(1), place(1), is_pressed=True)).sources
    assert len(desk) == 1
    desk.announce(Announcement(place(1), is_all=True))
    assert len(desk) == 0


def test_what_somebody_is_fetching_besides_is_not_nowhere() -> None:
    desk, view, _ = desk_of(1, 2)
    tells_all(desk, view, 1)
    tells_all(desk, view, 2)
    assert desk.claim(Claim(digest(1), place(1), is_pressed=True)).view == view.name  # nobody else has it
    assert not desk.claim(Claim(digest(1), place(2))).view


async def test_a_claim_ahead_comes_down_a_chain_in_the_order_of_the_others() -> None:
    desk, _ = make()
    assert not (await desk.decide(Claim(digest(1), place(1), 100 << 20, is_ahead=True, rank=0))).sources
    waiting = asyncio.create_task(
        desk.decide(Claim(digest(1), place(3), 100 << 20, below=place(2).address, is_ahead=True, rank=2))
    )
    await asyncio.sleep(0)
    await desk.decide(Claim(digest(1), place(2), 100 << 20, is_ahead=True, rank=1))
    assert (await waiting).sources == (place(2).address,)


async def test_one_that_is_pressed_waits_for_nobody_at_the_index_node_either() -> None:
    desk, _ = make()
    pressed = Claim(digest(1), place(3), 100 << 20, below=place(2).address, is_pressed=True)
    assert not (await asyncio.wait_for(desk.decide(pressed), LINE_SECONDS / 2)).sources
