"""Who gets one digest from whom."""

from __future__ import annotations

from collections import Counter

import pytest

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.index.wave import IDLE_SECONDS, LINE_SECONDS, RUSH_SECONDS, STEP_BYTES, Wave
from registryd.transfer.monitoring.thresholds import REPORTED_SECONDS
from tests.cluster.index.joining import DIGEST, MIB, address, join, require_no_circle


def test_the_first_goes_to_the_origin_and_large_content_travels_down_a_chain() -> None:
    wave = Wave()
    assert [join(wave, number) for number in range(1, 6)] == [[], [1], [2], [3], [4]]


def test_small_content_spreads_like_a_star() -> None:
    wave = Wave()
    assert [join(wave, number, size=1000) for number in range(1, 6)] == [[], [1], [1], [1], [1]]


def test_a_chain_is_shortened_when_its_depth_costs_more_than_half_the_rate() -> None:
    wave = Wave()
    sources = [join(wave, number, size=4 * STEP_BYTES) for number in range(1, 8)]
    assert sources[:5] == [[], [1], [2], [3], [4]]
    assert sources[5:] == [[1], [6]]


def test_a_chain_in_the_order_of_another_layer_is_shortened_when_it_is_twice_as_long() -> None:
    wave = Wave()
    sources = [join(wave, number, size=4 * STEP_BYTES, below=number - 1 or None) for number in range(1, 13)]
    assert sources[:10] == [[], *([number] for number in range(1, 10))]
    assert sources[10:] == [[1], [11]]


def test_holders_that_are_named_beside_the_end_of_a_chain_take_turns() -> None:
    """All that are far down turn to them when no byte comes for a second."""
    wave = Wave()
    for number in range(1, 11):
        wave.hold(NodeLocation(address(number)))
    named = [join(wave, number, below=number - 1) for number in range(11, 32)]
    assert [sources[0] for sources in named[1:]] == list(range(11, 31))
    counts = Counter(other for sources in named[1:] for other in sources[1:])
    assert sum(counts.values()) == 40
    assert max(counts.values()) <= 5


def test_a_node_is_told_of_a_holder_that_gives_it_to_nobody_beside_the_end_of_a_chain() -> None:
    wave = Wave()
    for number in (1, 2, 3):
        wave.hold(NodeLocation(address(number)))
    idle = []
    for number in (11, 12, 13):
        sources = tuple(map(address, join(wave, number, below=number - 1)))
        idle.append(wave.idle_of(sources, 0.0))
    # Node 11 gets it from one holder itself. The others are told to the next nodes, which take a moment to begin there.
    later = [wave.idle_of((address(11), address(number)), IDLE_SECONDS) for number in (1, 2, 3)]
    assert idle[0] is None
    assert len({None, *idle}) == 3
    assert {None, *idle} == set(later)


def test_no_holder_is_idle_while_more_nodes_get_it_than_have_it() -> None:
    wave = Wave()
    for number in (1, 2):
        wave.hold(NodeLocation(address(number)))
    idle = []
    for number in (11, 12, 13):
        sources = tuple(map(address, join(wave, number, below=number - 1)))
        idle.append(wave.idle_of(sources, number * IDLE_SECONDS) is not None)
    assert idle == [False, True, False]


def test_no_holder_is_idle_for_one_that_gets_it_from_a_holder_anyway() -> None:
    wave = Wave()
    for number in (1, 2):
        wave.hold(NodeLocation(address(number)))
    assert wave.idle_of((address(1), address(2)), 0.0) is None


def test_where_many_may_come_it_is_bushy_from_the_top_on() -> None:
    wave = Wave(crowd=1000)
    assert [join(wave, number, size=3 * STEP_BYTES) for number in range(1, 6)] == [[], [1], [1], [2], [3]]


def test_who_asks_again_stays_where_it_is() -> None:
    wave = Wave()
    for number in (1, 2, 3):
        join(wave, number)
    assert join(wave, 2) == [1]
    assert join(wave, 4) == [3]


def test_when_the_top_fails_the_next_takes_its_place_and_the_others_keep_theirs() -> None:
    wave = Wave()
    for number in (1, 2, 3):
        join(wave, number)
    assert join(wave, 2, failed=(1,)) == []
    assert join(wave, 3) == [2]
    assert join(wave, 4) == [3]


def test_nobody_is_sent_to_one_that_gets_it_from_him() -> None:
    wave = Wave()
    for number in (1, 2, 3, 4):
        join(wave, number)
    assert join(wave, 3, failed=(2,)) == [1]
    assert join(wave, 1) == []


def test_one_that_was_reported_is_named_to_nobody_for_a_while() -> None:
    wave = Wave()
    join(wave, 1)
    assert join(wave, 2) == [1]
    assert join(wave, 2, failed=(1,)) == []
    assert join(wave, 3) == [2]
    assert join(wave, 3, failed=(2,), now=1.0) == []  # 1 is suspect still
    assert 1 in join(wave, 4, now=REPORTED_SECONDS + 2.0)


def test_reports_of_nodes_that_were_never_named_to_the_reporter_count_for_him_alone() -> None:
    wave = Wave()
    for number in (1, 2, 3):
        join(wave, number)
    assert join(wave, 9, failed=(1, 2, 3)) == []
    assert join(wave, 4) in ([3], [9])
    assert join(wave, 3) == [2]


def test_one_that_claims_again_is_no_longer_suspect() -> None:
    wave = Wave()
    join(wave, 1)
    join(wave, 2)
    join(wave, 2, failed=(1,))
    assert join(wave, 1) == [2]


def test_an_origin_that_refuses_three_is_left_to_everyone() -> None:
    wave = Wave()
    join(wave, 1, size=1000)
    for number in (2, 3, 4):
        assert join(wave, number, size=1000) == [number - 1]
        assert join(wave, number, size=1000, failed=(number - 1,)) == []
    assert join(wave, 9, size=1000) == []
    assert join(wave, 10, size=1000, now=REPORTED_SECONDS + 1.0) != []


def test_a_top_that_all_its_followers_report_is_one_that_failed_not_several() -> None:
    wave = Wave()
    join(wave, 1, size=1000)
    below = [number for number in range(2, 12) if join(wave, number, size=1000) == [1]]
    assert len(below) > 3
    found = [join(wave, number, size=1000, failed=(1,), now=0.1) for number in below]
    assert found.count([]) == 1
    assert join(wave, 20, size=1000, now=0.2) != []


def test_holders_come_first_and_stand_in_for_each_other() -> None:
    wave = Wave()
    wave.hold(NodeLocation(address(1)))
    wave.hold(NodeLocation(address(2)))
    assert join(wave, 3) == [1, 2]
    assert join(wave, 4)[0] == 2


def test_one_that_dropped_it_is_not_named() -> None:
    wave = Wave()
    wave.hold(NodeLocation(address(1)))
    wave.drop(address(1))
    assert join(wave, 2) == []


def test_only_the_first_is_named_of_those_that_wait_themselves() -> None:
    wave = Wave()
    for number in range(1, 6):
        join(wave, number, size=1000)
    assert len(join(wave, 6, size=1000)) == 1


def test_one_in_each_zone_crosses_to_the_other() -> None:
    wave = Wave()
    zones = [join(wave, number, zone="ab"[number % 2]) for number in range(1, 7)]
    crossing = [number for number, sources in enumerate(zones, 1) if sources and (sources[0] - number) % 2]
    assert crossing == [2]


def test_looking_does_not_join() -> None:
    wave = Wave()
    join(wave, 1)
    looking = Claim(DIGEST, NodeLocation(address(2)), is_question=True)
    assert wave.look(looking, 0.0) == (address(1),)
    assert join(wave, 3) == [1]


def test_who_looks_into_a_chain_hears_of_the_nodes_below_its_top() -> None:
    wave = Wave(crowd=20)
    for number in range(1, 21):
        join(wave, number)
    found = wave.look(Claim(DIGEST, NodeLocation(address(2)), places=6, is_question=True), 0.0)
    assert address(3) in found  # the last, which may have nothing yet, is the first


@pytest.mark.parametrize("size", [1000, 3 * MIB, 100 * MIB])
def test_whatever_happens_nobody_waits_in_a_circle(size: int) -> None:
    wave, follows = Wave(), dict[int, int | None]()
    for step in range(400):
        number = step * 7 % 50
        failed = () if step % 3 else tuple(filter(None, [follows.get(number)]))
        sources = join(wave, number + 1, size=size, failed=failed, now=step / 10)
        follows[number + 1] = sources[0] if sources else None
        require_no_circle(follows)


def claim_of(number: int, *, below: int | None = None, places: int | None = None, zone: str = "") -> Claim:
    preferred = address(below) if below else None
    return Claim(DIGEST, NodeLocation(address(number), zone), 3 * MIB, below=preferred, places=places)


def test_layers_come_down_a_chain_in_the_order_that_claims_ask_for() -> None:
    wave = Wave()
    wave.join(claim_of(1), 0.0)
    wave.join(claim_of(2), 0.0)
    assert wave.join(claim_of(3, below=1), 0.0) == (address(2),)  # 1 has somebody below it
    assert wave.join(claim_of(4, below=3), 0.0) == (address(3),)
    wave.join(claim_of(5), 0.0)
    assert wave.join(claim_of(6, below=99), 0.0) == (address(5),)


def test_nobody_is_put_below_one_that_gets_it_from_him_or_was_reported() -> None:
    wave = Wave()
    for number in (1, 2, 3):
        wave.join(claim_of(number), 0.0)
    assert wave.join(Claim(DIGEST, NodeLocation(address(2)), 3 * MIB, (address(1),), below=address(3)), 0.0) == ()
    assert wave.join(claim_of(4, below=1), 0.0) == (address(3),)  # 1 is suspect


def test_a_chain_does_not_leave_its_zone_for_order() -> None:
    wave = Wave()
    wave.join(claim_of(1, zone="a"), 0.0)
    wave.join(claim_of(2, zone="b"), 0.0)
    wave.join(claim_of(3, zone="a"), 0.0)
    assert wave.join(claim_of(4, zone="a", below=2), 0.0) == (address(3),)


def test_each_learns_who_came_just_before_it_from_its_zone() -> None:
    wave = Wave()
    for number, zone in enumerate("aabab", 1):
        wave.join(claim_of(number, zone=zone), 0.0)
    assert [wave.before(address(number)) for number in range(1, 6)] == [
        None,
        address(1),
        None,
        address(2),
        address(3),
    ]
    wave.join(claim_of(2, zone="a"), 1.0)
    assert wave.before(address(2)) == address(1)
    wave.join(claim_of(6, zone="a"), RUSH_SECONDS + 2.0)
    assert wave.before(address(6)) is None
    assert wave.before(address(99)) is None


def test_only_a_chain_lacks_a_predecessor_and_only_who_passes_nothing_on_comes_too_early_to_a_tree() -> None:
    chain, tree = Wave(), Wave(crowd=1000)
    follower, leaf = claim_of(2, below=1), claim_of(2, below=1, places=0)
    assert chain.lacks_predecessor(follower)
    assert not tree.lacks_predecessor(follower)
    assert not chain.seconds_too_early(leaf, 0.0)
    assert not tree.seconds_too_early(claim_of(2, places=0), 0.0)  # it is alone
    assert tree.seconds_too_early(leaf, 0.0) == LINE_SECONDS
    assert not tree.seconds_too_early(claim_of(3, below=1, places=3), 0.0)
    for wave in (chain, tree):
        wave.join(claim_of(1), 0.0)
    assert not chain.lacks_predecessor(follower)
    assert tree.seconds_too_early(leaf, 0.05) == pytest.approx(LINE_SECONDS - 0.05)
    assert not tree.seconds_too_early(leaf, LINE_SECONDS)


def test_in_a_tree_places_are_filled_before_anybody_gets_one_more() -> None:
    wave = Wave(crowd=1000)
    sources = [
        wave.join(claim_of(number, below=99, places=places), 0.0) for number, places in enumerate([3, 3, 0, 0], 1)
    ]
    assert sources == [(), (address(1),), (address(1),), (address(1),)]
    assert wave.join(claim_of(5, below=99, places=0), 0.0) == (address(2),)


def test_in_a_chain_places_count_for_nothing() -> None:
    wave = Wave()
    assert [wave.join(claim_of(number, places=3), 0.0) for number in (1, 2, 3)] == [(), (address(1),), (address(2),)]


def test_who_gets_it_nobody_knows_how_is_in_the_wave_and_named_to_nobody() -> None:
    wave = Wave()
    wave.begin(NodeLocation(address(1)))
    assert list(wave.addresses) == [address(1)]
    assert join(wave, 2) == []
    assert set(wave.addresses) == {address(1), address(2)}
    assert join(wave, 1) == [2]
    assert set(wave.addresses) == {address(1), address(2)}
    assert join(wave, 3) == [1]


def test_who_has_claimed_it_and_says_that_it_gets_it_keeps_its_place() -> None:
    wave = Wave()
    assert [join(wave, number) for number in (1, 2)] == [[], [1]]
    wave.begin(NodeLocation(address(2)))
    assert join(wave, 3) == [2]


def test_who_turns_out_to_have_it_is_named_and_who_has_given_it_up_is_gone() -> None:
    wave = Wave()
    wave.begin(NodeLocation(address(1)))
    wave.begin(NodeLocation(address(2)))
    wave.hold(NodeLocation(address(1)))
    wave.drop(address(2))
    assert list(wave.addresses) == [address(1)]
    assert join(wave, 3) == [1]


def test_who_does_not_give_it_for_a_claimants_name_is_named_to_others_all_the_same() -> None:
    wave = Wave()
    wave.hold(NodeLocation(address(1)))
    assert join(wave, 2) == [1]
    assert join(wave, 2, unfit=(1,)) == [], "it looks elsewhere, and nobody is suspected"
    assert 1 in join(wave, 3)
    question = Claim(DIGEST, NodeLocation(address(4)), is_question=True, unfit=tuple(map(address, (1, 2, 3))))
    assert wave.look(question, 0.0) == ()


def test_a_claimant_leaves_a_source_that_does_not_give_it_for_its_name() -> None:
    wave = Wave()
    assert join(wave, 1) == []
    assert join(wave, 2) == [1]
    assert join(wave, 2, unfit=(1,)) == []
    assert join(wave, 3, unfit=(1,)) == [2]
