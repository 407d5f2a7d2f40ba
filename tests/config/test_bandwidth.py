"""Lines of limits: days, hours, rates; the first that applies counts for each rate; what is none says what is wrong."""

from __future__ import annotations

from datetime import datetime

import pytest

from registryd.config.bandwidth import Limit, Rates, parse_limits, rates_at

MIB = 1 << 20
# A Monday.
MONDAY = datetime(2026, 11, 30)  # noqa: DTZ001 - the node's own clock


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Day 0 is that Monday."""
    return MONDAY.replace(day=30, hour=hour, minute=minute) if day == 0 else datetime(2026, 12, day, hour, minute)  # noqa: DTZ001


def upload_at(lines: list[str], moment: datetime) -> int:
    return rates_at(moment, parse_limits(lines), Rates(upload=7 * MIB)).upload


@pytest.mark.parametrize(
    ("line", "moment", "applies"),
    [
        ("upload=1MiB", at(0, 0), True),
        ("mon-fri 08:00-18:00 upload=1MiB", at(0, 8), True),
        ("mon-fri 08:00-18:00 upload=1MiB", at(0, 18), False),
        ("mon-fri 08:00-18:00 upload=1MiB", at(5, 12), False),
        ("sat sun upload=1MiB", at(5, 12), True),
        ("sat-mon upload=1MiB", at(0, 23, 59), True),
        ("sat-mon upload=1MiB", at(1, 0), False),
        ("fri 22:00-06:00 upload=1MiB", at(5, 5, 59), True),
        ("fri 22:00-06:00 upload=1MiB", at(4, 5), False),
        ("fri 22:00-06:00 upload=1MiB", at(4, 22), True),
        ("00:00-24:00 upload=1MiB", at(3, 23, 59), True),
    ],
)
def test_days_and_hours(line: str, moment: datetime, *, applies: bool) -> None:
    assert Limit.parse(line).applies(moment) is applies


def test_the_first_line_that_applies_counts_for_each_rate() -> None:
    lines = ["08:00-18:00 upload=2MiB", "upload=3MiB download=4MiB", "background=5% download=9MiB"]
    found = rates_at(at(0, 9), parse_limits(lines), Rates(origin=MIB))
    assert found == Rates(upload=2 * MIB, download=4 * MIB, origin=MIB, background=5)
    assert upload_at(lines, at(0, 20)) == 3 * MIB
    assert upload_at([], at(0, 20)) == 7 * MIB


def test_a_line_can_lift_a_limit_and_comments_are_none() -> None:
    assert upload_at(["# nights", "", "22:00-06:00 upload=0B # all there is"], at(0, 23)) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mon-fri", "limits nothing"),
        ("upload=fast", "not a size"),
        ("upload=1kB", "1MiB or more|not a size"),
        ("upload=100KB", "1MiB or more"),
        ("sideways=1MiB", "expected days"),
        ("25:00-26:00 upload=1MiB", "expected days"),
        ("08:00-08:00 upload=1MiB", "no time of the day"),
        ("08:00-24:30 upload=1MiB", "no time of the day"),
        ("upload=1MiB upload=2MiB", "upload= is there twice"),
        ("08:00-10:00 12:00-14:00 upload=1MiB", "hours twice: write two lines"),
        ("background=0%", "expected days"),
        ("background=101%", "expected days"),
        ("x" * 10_000, "expected days"),
    ],
)
def test_what_is_no_limit_says_why(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_limits([line])
    assert len(str(error.value)) < 400
