"""Where nodes go that were held up, and what becomes of those that held them up."""

from __future__ import annotations

import pytest

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.index.wave import Wave
from tests.cluster.index.joining import DIGEST, MIB, address, join, require_no_circle


def beside(wave: Wave, number: int) -> list[int]:
    question = Claim(DIGEST, NodeLocation(address(99)), is_question=True, beside=address(number))
    return [other.port for other in wave.look(question, 0.0)]


def chain(length: int) -> Wave:
    wave = Wave()
    for number in range(1, length + 1):
        join(wave, number)
    return wave


def tree(count: int, *, places: int) -> Wave:
    wave = Wave(crowd=1000)
    for number in range(1, count + 1):
        wave.join(Claim(DIGEST, NodeLocation(address(number)), 100 * MIB, places=places), 0.0)
    return wave


def test_in_a_chain_who_was_held_up_takes_the_place_of_the_slow_one() -> None:
    wave = chain(5)
    assert join(wave, 4, slow=(3,)) == [2]
    assert join(wave, 5) == [4]


def test_who_is_slow_is_named_to_nobody_who_can_be_sent_elsewhere() -> None:
    wave = chain(3)
    assert join(wave, 3, slow=(2,)) == [1]
    assert [join(wave, number, size=1000)[0] for number in range(4, 14)] == [1] * 10
    assert join(wave, 14, failed=(1,)) != [2]


def test_who_is_slow_keeps_its_place_and_its_source_takes_another_for_it() -> None:
    wave = chain(3)
    join(wave, 3, slow=(2,))
    assert join(wave, 2) == [1]
    assert join(wave, 4, failed=(3,)) == [1]


def test_who_knows_that_it_is_slow_goes_to_the_end_when_another_has_taken_its_place() -> None:
    wave = chain(5)
    assert join(wave, 2, is_slow=True) == [1]  # all others are below it
    assert join(wave, 3, slow=(2,)) == [1]
    assert join(wave, 2, is_slow=True) == [5]
    assert join(wave, 2, is_slow=True) == [5]  # where it stays
    assert join(wave, 6) == [5]  # as if it were not there
    require_no_circle({1: None, 2: 5, 3: 1, 4: 3, 5: 4, 6: 5})


def test_who_is_slow_keeps_its_place_when_no_other_is_fit() -> None:
    """It goes on with its source: were it a top, nodes above it could be sent below it."""
    wave = chain(4)
    named, failed = join(wave, 9), tuple[int, ...]()
    while named:  # one member reports all that are named to it, and goes
        failed = (*failed, *named)
        named = join(wave, 9, failed=failed)
    wave.drop(address(9))
    assert join(wave, 3, is_slow=True) == [2]
    assert join(wave, 2, failed=(1,)) == []


def test_who_is_slow_stays_where_it_is_in_nobodys_way() -> None:
    wave = chain(3)
    assert join(wave, 3, is_slow=True) == [2]


def test_others_below_it_are_put_elsewhere_when_they_ask() -> None:
    wave = tree(7, places=2)
    assert (beside(wave, 4), beside(wave, 6)) == ([6, 2], [4, 2])
    assert join(wave, 4, slow=(2,)) == [1]
    assert join(wave, 6)[0] != 2


def test_a_slow_one_is_followed_when_there_is_nobody_else_and_the_origin_is_left_alone() -> None:
    wave = chain(2)
    assert join(wave, 2, slow=(1,)) == [1]
    assert join(wave, 3) == [2]
    assert join(wave, 3, failed=(2,)) == [1]


def test_one_that_was_never_named_to_the_reporter_does_not_count_as_slow() -> None:
    wave = chain(3)
    join(wave, 9, slow=(1, 2, 3))
    assert join(wave, 4) in ([3], [9])
    assert join(wave, 3) == [2]


def test_beside_a_node_are_those_with_the_same_source() -> None:
    wave = tree(4, places=3)
    assert [beside(wave, number) for number in (2, 3, 4)] == [[4, 3], [4, 2], [3, 2]]


def test_where_there_is_one_or_none_of_them_the_source_stands_in() -> None:
    wave = tree(3, places=2)
    assert (beside(wave, 2), beside(wave, 3)) == ([3, 1], [2, 1])
    assert beside(chain(3), 3) == [2]


def test_one_that_gets_it_from_another_zone_is_compared_with_nobody_nor_are_others_with_it() -> None:
    wave = Wave(crowd=1000)
    for number, zone in enumerate("aaab", 1):
        wave.join(Claim(DIGEST, NodeLocation(address(number), zone), 100 * MIB, places=3), 0.0)
    assert beside(wave, 4) == []
    assert [beside(wave, number) for number in (2, 3)] == [[3, 1], [2, 1]]


def test_slow_nodes_are_no_measure_for_others() -> None:
    wave = tree(5, places=3)
    assert join(wave, 5, slow=(2,)) == [1]
    assert beside(wave, 4) == [5, 3]
    assert 2 not in beside(wave, 3)


def test_beside_the_one_at_the_top_is_nobody_nor_beside_strangers() -> None:
    assert (beside(chain(2), 1), beside(chain(2), 77)) == ([], [])


@pytest.mark.parametrize("size", [1000, 3 * MIB, 100 * MIB])
def test_whoever_is_slow_nobody_waits_in_a_circle_nor_goes_to_the_origin_for_it(size: int) -> None:
    wave, follows = Wave(), dict[int, int | None]()
    for step in range(600):
        number = step * 7 % 50 + 1
        slow = () if step % 3 else tuple(filter(None, [follows.get(number)]))
        sources = join(wave, number, size=size, slow=slow, now=step / 10)
        follows[number] = sources[0] if sources else None
        require_no_circle(follows)
    assert [number for number, source in follows.items() if source is None] == [1]


# ---------------------------------------------------------------- who is known to be slow before


def claim_of(number: int, *, below: int | None = None, is_slow: bool = False) -> Claim:
    predecessor = address(below) if below else None
    return Claim(DIGEST, NodeLocation(address(number)), 100 * MIB, below=predecessor, is_slow=is_slow)


def joined(wave: Wave, claim: Claim) -> list[int]:
    return [source.port for source in wave.join(claim, 0.0)]


def test_one_that_is_known_to_be_slow_is_nobodys_source_while_there_is_another() -> None:
    wave = chain(1)
    assert joined(wave, claim_of(2, is_slow=True)) == [1]
    assert joined(wave, claim_of(3, below=2)) == [1]
    assert joined(wave, claim_of(4, below=3))[0] == 3


def test_one_that_is_known_to_be_slow_is_followed_when_there_is_nobody_else() -> None:
    wave = Wave()
    assert joined(wave, claim_of(1, is_slow=True)) == []
    assert joined(wave, claim_of(2)) == [1]


def test_where_all_are_said_to_be_slow_all_are_placed_as_if_nobody_were() -> None:
    wave = Wave(crowd=1000)
    placed = [joined(wave, claim_of(number, is_slow=True))[:1] for number in range(1, 60)]
    other = Wave(crowd=1000)
    assert placed == [joined(other, claim_of(number))[:1] for number in range(1, 60)]


def test_one_that_has_become_slow_is_left_by_who_asks_again_and_taken_back_when_it_is_quick() -> None:
    wave = chain(3)
    joined(wave, claim_of(2, is_slow=True))
    assert joined(wave, claim_of(3)) == [1]
    joined(wave, claim_of(2))
    assert joined(wave, claim_of(4, below=2)) == [2]


@pytest.mark.parametrize("is_told", [False, True])
def test_whoever_is_known_to_be_slow_nobody_waits_in_a_circle(*, is_told: bool) -> None:
    wave, follows = Wave(crowd=1000 if is_told else 0), dict[int, int | None]()
    for step in range(600):
        number = step * 7 % 50 + 1
        sources = joined(wave, claim_of(number, below=step * 3 % 50 + 1, is_slow=step % 4 == 0))
        follows[number] = sources[0] if sources else None
        require_no_circle(follows)
    assert [number for number, source in follows.items() if source is None] == [1]
