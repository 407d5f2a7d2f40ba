"""Which stripes are held up: those that are far behind and have come much more slowly for as long as says something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.cluster.health.stripe_pace import StripePace, third_best
from registryd.transfer.monitoring.thresholds import STRIPE_LOOK_SECONDS, STRIPE_WINDOW_BYTES, WORTH_SECONDS
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
SLOW = 5


def found(rate_of: Callable[[int, float], float], seconds: float, *, start: int = 0) -> dict[int, float]:
    """The stripes that were held up at some look, and when first; `rate_of` a stripe at a moment, in bytes a second."""
    reached = [float(start)] * STRIPES
    pace = StripePace([start] * STRIPES, 0.0)
    first: dict[int, float] = {}
    for look in range(1, round(seconds / STRIPE_LOOK_SECONDS) + 1):
        now = look * STRIPE_LOOK_SECONDS
        for stripe in range(STRIPES):
            reached[stripe] += rate_of(stripe, now) * STRIPE_LOOK_SECONDS
        pace.look([int(count) for count in reached], now)
        for stripe in pace.held_up():
            first.setdefault(stripe, now)
    return first


@pytest.mark.parametrize("usual", [MIB / 4, 4 * MIB, 40 * MIB])
@pytest.mark.parametrize("start", [0, 100 * MIB])
def test_one_that_comes_ten_times_more_slowly_is_found_when_the_others_got_little_more_than_a_window(
    usual: float, start: int
) -> None:
    at = found(lambda stripe, _: usual / 10 if stripe == SLOW else usual, 20.0, start=start)
    assert list(at) == [SLOW]
    assert at[SLOW] <= max(2 * STRIPE_LOOK_SECONDS, STRIPE_WINDOW_BYTES / usual) + 2 * STRIPE_LOOK_SECONDS


def test_most_may_be_slow() -> None:
    assert set(found(lambda stripe, _: MIB / 10 if stripe < 5 else MIB, 20.0)) == set(range(5))


def test_half_as_quickly_is_not_held_up() -> None:
    assert not found(lambda stripe, _: MIB / 2 if stripe == SLOW else MIB, 60.0)


def test_a_pause_of_a_second_now_and_then_is_none() -> None:
    """As TCP shares a link of 20 Mbit/s: each stripe stands still for one second of eight, and then catches up."""

    def rate(stripe: int, now: float) -> float:
        return 0.0 if int(now) % STRIPES == stripe else MIB / 3

    assert not found(rate, 60.0)


def test_where_all_stand_still_none_is_held_up() -> None:
    assert not found(lambda _, now: MIB if now < 5 else 0.0, 20.0)


def test_one_that_all_others_wait_for_is_held_up() -> None:
    """The others are as far ahead as they may be, and have got nothing for long."""

    def rate(stripe: int, now: float) -> float:
        if stripe == SLOW:
            return 1000.0 if now > 2 else MIB
        return MIB if now <= 4 else 1000.0

    assert list(found(rate, 30.0)) == [SLOW]


def test_nothing_is_said_of_what_comes_too_slowly_to_tell() -> None:
    assert not found(lambda stripe, _: 0.0 if stripe == SLOW else 10_000.0, 600.0)


def test_one_that_comes_well_again_is_not_held_up_though_it_is_behind() -> None:
    pace = StripePace([0] * STRIPES, 0.0)
    pace.look([MIB] * STRIPES, 1.0)
    pace.look([2 * MIB if stripe != SLOW else MIB for stripe in range(STRIPES)], 2.0)
    assert pace.held_up() == [SLOW]
    pace.look([3 * MIB if stripe != SLOW else 2 * MIB for stripe in range(STRIPES)], 3.0)
    assert not pace.held_up()


def test_a_change_is_worth_it_when_the_rest_takes_long() -> None:
    pace = StripePace([0] * STRIPES, 0.0)
    pace.look([MIB] * STRIPES, 1.0)
    enough = round(MIB * STRIPES * WORTH_SECONDS)
    assert [pace.is_worth_a_change(left) for left in (enough - 1, enough + 1)] == [False, True]


def test_a_stripe_is_silent_since_its_last_byte() -> None:
    pace = StripePace([5] * STRIPES, 100.0)
    pace.look([6 if stripe == SLOW else 5 for stripe in range(STRIPES)], 101.0)
    pace.look([6 if stripe == SLOW else 5 for stripe in range(STRIPES)], 102.0)
    assert [pace.silence(stripe, 110.0) for stripe in (SLOW, 0)] == [9.0, 10.0]


def test_the_third_best_is_neither_a_lucky_one_nor_the_middle() -> None:
    assert third_best([0, 0, 0, 0, 0, 7, 8, 900]) == 7
