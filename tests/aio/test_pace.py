"""More than a pace allows is done later, or not at all, and costs nobody else anything."""

from __future__ import annotations

import pytest

from registryd.aio.pace import Pace, TooFast


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_had_at_once_and_then_each_at_its_time() -> None:
    clock = Clock()
    pace = Pace[str](rate=10, burst=5, longest=1, clock=clock)
    assert [pace.take("a") for _ in range(5)] == [0] * 5
    assert [round(pace.take("a"), 3) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert pace.take("b") == 0, "another one has its own"
    clock.now += 0.3
    assert round(pace.take("a"), 3) == 0.1
    clock.now += 100
    assert [pace.take("a") for _ in range(5)] == [0] * 5


def test_what_would_wait_too_long_is_refused_and_takes_nothing() -> None:
    clock = Clock()
    pace = Pace[str](rate=10, burst=5, longest=0.5, clock=clock)
    assert pace.take("a", 10) == 0.5
    for _ in range(100):
        with pytest.raises(TooFast):
            pace.take("a")
    clock.now += 0.1
    assert round(pace.take("a"), 3) == 0.5


@pytest.mark.looptime
async def test_a_turn_is_waited_for(looptime: int) -> None:
    pace = Pace[str](rate=2, burst=1, longest=10, clock=lambda: 0.0)
    for _ in range(3):
        await pace.turn("a")
    assert looptime == 1.5


def test_who_makes_up_names_does_not_fill_the_memory() -> None:
    clock = Clock()
    pace = Pace[int](rate=1, burst=2, most=100, clock=clock)
    pace.take(-1, 2)
    for number in range(10_000):
        pace.take(number)
    assert len(pace) <= 100
    clock.now += 1
    with pytest.raises(TooFast):
        pace.take(9_999, 2.5)
