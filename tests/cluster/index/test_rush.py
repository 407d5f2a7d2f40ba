"""Claims that come at the same moment."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.index.rush import GATHERED_SECONDS, LATE_SECONDS, LEAST_BYTES, Rush
from registryd.transfer.striping import STRIPES
from tests.cluster.index.joining import DIGEST, address

AT = 1000.0


def claim(number: int, *, rank: int | None = None) -> Claim:
    return Claim(DIGEST, NodeLocation(address(number)), LEAST_BYTES, rank=rank, takes_stripes=True)


def numbers(claims: list[Claim]) -> list[int]:
    return [each.claimant.address.port for each in claims]


def gathered(rush: Rush, count: int, *, at: float = AT) -> Rush:
    for number in range(1, count + 1):
        assert rush.seconds(claim(number), at, is_striped=False)
    return rush


def test_those_that_claim_within_a_moment_are_gathered_and_told_together_the_first_of_an_image_first() -> None:
    rush = Rush(3)
    assert rush.seconds(claim(1, rank=2), AT, is_striped=False) == pytest.approx(GATHERED_SECONDS)
    assert rush.seconds(claim(2), AT + 0.1, is_striped=False) == pytest.approx(GATHERED_SECONDS - 0.1)
    assert rush.seconds(claim(3, rank=1), AT + 0.15, is_striped=False) == pytest.approx(GATHERED_SECONDS - 0.15)
    assert rush.settle(AT + 0.15, is_striped=False) == []
    assert numbers(rush.settle(AT + GATHERED_SECONDS, is_striped=False)) == [3, 1, 2]
    assert rush.settle(AT + GATHERED_SECONDS, is_striped=False) == []


# With the node at the top, which does not wait.
@pytest.mark.parametrize(("count", "is_enough"), [(1, False), (2, True)])
def test_too_few_get_it_as_a_whole(count: int, is_enough: bool) -> None:
    rush = gathered(Rush(3), count)
    assert bool(rush.settle(AT + GATHERED_SECONDS, is_striped=False)) is is_enough
    assert rush.seconds(claim(9), AT + GATHERED_SECONDS, is_striped=False) == 0.0


def test_who_comes_late_waits_less_and_gets_it_in_stripes_with_others_that_come_late() -> None:
    rush = gathered(Rush(3), 3)
    assert len(rush.settle(AT + GATHERED_SECONDS, is_striped=False)) == 3
    assert rush.seconds(claim(4), AT + 0.3, is_striped=True) == pytest.approx(LATE_SECONDS)
    assert rush.seconds(claim(5), AT + 0.35, is_striped=True) == pytest.approx(LATE_SECONDS - 0.05)
    assert numbers(rush.settle(AT + 0.3 + LATE_SECONDS, is_striped=True)) == [4, 5]


def come(rush: Rush, seconds: list[float]) -> list[bool]:
    """Whether each has to wait of those that come so long after the first moment is over."""
    waits = [rush.seconds(claim(n), AT + GATHERED_SECONDS + at, is_striped=False) for n, at in enumerate(seconds, 50)]
    return [wait > 0 for wait in waits]


def test_when_starts_quicken_later_ones_are_gathered_after_as_many_as_are_enough() -> None:
    rush = gathered(Rush(4), 1)
    assert not rush.settle(AT + GATHERED_SECONDS, is_striped=False)
    assert come(rush, [1.0, 1.01, 1.02, 1.03, 1.04, 1.05]) == [False] * 3 + [True] * 3
    assert numbers(rush.settle(AT + 1.03 + 2 * GATHERED_SECONDS, is_striped=False)) == [53, 54, 55]


def test_those_that_come_evenly_and_too_few_at_a_time_never_wait() -> None:
    rush = gathered(Rush(4), 1)
    assert not rush.settle(AT + GATHERED_SECONDS, is_striped=False)
    assert come(rush, [0.07 * number for number in range(1, 100)]) == [False] * 99


def test_where_some_have_it_nobody_waits_before_more_than_these_have_come_in_a_moment() -> None:
    """Those that come now and then get it from any of them."""
    for holders, free in ((STRIPES - 1, 0), (STRIPES, STRIPES), (10, 10)):
        rush = Rush(4)
        waits = [rush.seconds(claim(number), AT, is_striped=False, holders=holders) > 0 for number in range(1, 21)]
        assert waits == [False] * free + [True] * (20 - free)


def test_counting_takes_no_longer_for_each_of_many() -> None:
    def seconds(count: int) -> float:
        rush, claims = Rush(4), [claim(number) for number in range(count)]
        begun = time.process_time()
        assert not any(rush.seconds(each, AT, is_striped=False, holders=count) for each in claims)
        return (time.process_time() - begun) / count

    few = min(seconds(500) for _ in range(3))
    assert min(seconds(4000) for _ in range(2)) < 4 * few


def test_one_that_comes_twice_counts_once_and_those_before_and_after_a_moment_count_together() -> None:
    rush = gathered(Rush(4), 1)
    assert not rush.settle(AT + GATHERED_SECONDS, is_striped=False)
    for _ in range(20):
        assert not rush.seconds(claim(9), AT + GATHERED_SECONDS + 1.0, is_striped=False)
    assert come(rush, [1.1, 1.15, 1.19]) == [False, False, True]


def test_when_it_was_only_a_few_that_came_at_once_these_lose_a_moment() -> None:
    rush = gathered(Rush(4), 1)
    assert not rush.settle(AT + GATHERED_SECONDS, is_striped=False)
    assert come(rush, [1.0, 1.01, 1.02, 1.03]) == [False] * 3 + [True]
    assert not rush.settle(AT + 1.03 + 2 * GATHERED_SECONDS, is_striped=False)
    assert come(rush, [2.0, 2.01, 2.02]) == [False] * 3


def test_another_rush_is_decided_anew() -> None:
    rush = gathered(Rush(3), 1)
    assert not rush.settle(AT + GATHERED_SECONDS, is_striped=False)
    gathered(rush, 3, at=AT + 11.0)
    assert len(rush.settle(AT + 11.0 + GATHERED_SECONDS, is_striped=False)) == 3


@pytest.mark.parametrize(
    "other",
    [
        replace(claim(1), takes_stripes=False),
        replace(claim(1), size=None),
        replace(claim(1), size=LEAST_BYTES - 1),
    ],
    ids=["takes no stripes", "of unknown size", "small"],
)
def test_what_cannot_come_in_stripes_does_not_wait(other: Claim) -> None:
    assert Rush(3).seconds(other, AT, is_striped=False) == 0.0


def test_where_stripes_are_switched_off_nobody_waits() -> None:
    assert Rush(0).seconds(claim(1), AT, is_striped=False) == 0.0


def test_where_many_take_no_stripes_it_comes_as_a_whole() -> None:
    for others, is_striped in ((2, True), (3, False)):
        rush = gathered(Rush(3), 20)
        for number in range(others):
            rush.note(replace(claim(100 + number), takes_stripes=False), AT + 0.1)
        assert bool(rush.settle(AT + GATHERED_SECONDS, is_striped=False)) is is_striped


def test_one_that_claims_as_a_whole_again_and_again_counts_once() -> None:
    rush = gathered(Rush(3), 20)
    for _ in range(100):
        rush.note(replace(claim(100), takes_stripes=False), AT + 0.1)
    assert rush.settle(AT + GATHERED_SECONDS, is_striped=False)


def test_who_does_not_wait_any_more_is_not_told() -> None:
    rush = gathered(Rush(3), 4)
    rush.withdraw(address(2))
    assert numbers(rush.settle(AT + GATHERED_SECONDS, is_striped=False)) == [1, 3, 4]


@pytest.mark.parametrize("is_striped", [False, True])
def test_where_the_event_loop_is_late_those_that_claim_before_the_first_are_told_come_with_them(
    is_striped: bool,
) -> None:
    rush = gathered(Rush(3), 3)
    late = AT + GATHERED_SECONDS + 0.3
    assert 0 < rush.seconds(claim(4), late, is_striped=is_striped) < 0.01
    assert numbers(rush.settle(late, is_striped=is_striped)) == [1, 2, 3, 4]


def test_those_whose_wait_ends_a_little_early_are_told() -> None:
    rush = gathered(Rush(3), 3)
    assert len(rush.settle(AT + GATHERED_SECONDS - 1e-6, is_striped=False)) == 3
