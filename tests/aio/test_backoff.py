from __future__ import annotations

import pytest

from registryd.aio.backoff import Backoff


def never() -> float:
    return 0.0


def always() -> float:
    return 1.0


def test_doubles_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=10.0)
    assert [backoff.delay(failures, chance=never) for failures in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]


def test_chance_takes_away_at_most_the_jitter() -> None:
    backoff = Backoff(first=10.0, longest=60.0, jitter=0.2)
    assert backoff.delay(1, chance=always) == 8.0
    assert all(8.0 <= backoff.delay(1) <= 10.0 for _ in range(100))


def test_any_number_of_failures_has_a_delay() -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    assert backoff.delay(0, chance=never) == 1.0
    assert backoff.delay(100_000, chance=never) == 60.0


@pytest.mark.parametrize(
    "numbers",
    [
        {"first": 0.0, "longest": 1.0},
        {"first": 2.0, "longest": 1.0},
        {"first": 1.0, "longest": 1.0, "factor": 0.5},
        {"first": 1.0, "longest": 1.0, "jitter": 1.1},
    ],
)
def test_numbers_that_make_no_backoff_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a backoff"):
        Backoff(**numbers)
