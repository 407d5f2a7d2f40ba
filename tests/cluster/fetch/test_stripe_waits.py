"""How long sources of a stripe that have nothing yet are waited for."""

from __future__ import annotations

import pytest

from registryd.cluster.fetch.stripe_waits import StripeWaits
from registryd.notation import Address

TOP = Address("10.0.0.1", 3173)
OTHER = Address("10.0.0.2", 3173)
MIB = 1 << 20


def waits_until_reported(received: list[int], *, reached: int, lead: int, rate: float) -> int:
    """How often the top has nothing until it is reported, where it says that it has got so much."""
    waits = StripeWaits()
    for number, said in enumerate(received, 1):
        waits.note(TOP, said, reached=reached, lead=lead, rate=rate)
        if waits.are_many_for_one:
            return number
    return len(received) + 1


@pytest.mark.parametrize("rate", [0.0, 1000.0, 1e9])
def test_one_that_gets_nothing_is_reported_after_three(rate: float) -> None:
    assert waits_until_reported([0] * 12, reached=3 * MIB, lead=3 * MIB, rate=rate) == 3


@pytest.mark.parametrize(
    ("lead", "rate", "count"),
    [
        (0, 1e9, 4),
        (MIB, MIB / 10, 9),  # 1.5 MiB take 15 s, twice as long at half of that rate
        (3 * MIB, MIB / 2, 6),  # 3 MiB, which is all that it says to lack
        (MIB, 0.0, 3),
    ],
)
def test_one_that_gets_more_is_waited_for_until_it_could_have_caught_up_at_half_of_the_usual_rate(
    lead: int, rate: float, count: int
) -> None:
    growing = [number * 40_000 for number in range(12)]
    assert waits_until_reported(growing, reached=3 * MIB, lead=lead, rate=rate) == count


def test_how_much_it_lacks_is_believed_only_as_far_as_it_fits_what_containerd_lacks_here() -> None:
    growing = [number * 40_000 for number in range(12)]
    assert waits_until_reported(growing, reached=1 << 40, lead=0, rate=MIB / 2) == 4


def test_one_that_has_more_than_is_wanted_and_does_not_give_it_is_reported_as_soon_as_an_idle_one() -> None:
    growing = [number * 4 * MIB for number in range(12)]
    assert waits_until_reported(growing, reached=0, lead=0, rate=MIB) == 3


def test_one_that_was_named_in_place_of_a_reported_one_is_waited_for_anew() -> None:
    waits = StripeWaits()
    for _ in range(3):
        waits.note(TOP, 0, reached=MIB, lead=0, rate=MIB)
    waits.begin_anew()
    for number in range(3):
        waits.note(OTHER, 0, reached=MIB, lead=0, rate=MIB)
        assert not waits.are_many
        assert waits.are_many_for_one == (number == 2)


def test_what_comes_ends_the_row() -> None:
    waits = StripeWaits()
    for number in range(40):
        waits.note(TOP, 0, reached=number, lead=0, rate=MIB)
        assert not waits.are_many
        assert not waits.are_many_for_one


def test_sources_that_take_turns_are_not_waited_for_for_ever() -> None:
    waits = StripeWaits()
    for number in range(12):
        assert not waits.are_many or number >= 4
        waits.note((TOP, OTHER)[number % 2], number * 40_000, reached=MIB, lead=0, rate=MIB)
    assert waits.are_many
