"""What a node makes of being left: it says of itself that it is slow, for a while."""

from __future__ import annotations

import asyncio
import math

import pytest

from registryd.aio import clock
from registryd.cluster.health.own_pace import OwnPace
from registryd.transfer.monitoring.thresholds import STRIPE_REPORT_SECONDS

pytestmark = pytest.mark.looptime


async def test_it_is_remembered_for_ten_minutes_after_the_last_time() -> None:
    pace, found = OwnPace(), []
    for seconds in (0, 400, 599, 2):
        await asyncio.sleep(seconds)
        found.append(pace.is_slow)
        if len(found) < 3:
            pace.left_by("10.0.0.1")
    assert found == [False, True, True, False]


async def test_it_is_known_since_when() -> None:
    pace, begun = OwnPace(), clock.now()
    assert pace.slow_since == -math.inf
    for seconds in (10, 500, 601):
        await asyncio.sleep(seconds)
        pace.left_by("10.0.0.1")
        assert pace.slow_since - begun == (10 if seconds < 600 else 1111)
    await asyncio.sleep(601)
    assert pace.slow_since == -math.inf


async def test_one_or_two_that_get_a_stripe_say_little_and_three_within_ten_seconds_are_believed() -> None:
    pace = OwnPace()
    for host in ("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.1"):
        pace.left_by(host, is_stripe=True)
    await asyncio.sleep(STRIPE_REPORT_SECONDS + 1)
    pace.left_by("10.0.0.3", is_stripe=True)
    assert not pace.is_slow
    pace.left_by("10.0.0.4", is_stripe=True)
    pace.left_by("10.0.0.5", is_stripe=True)
    assert pace.is_slow


async def test_it_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="registryd.cluster.health")
    pace = OwnPace()
    for _ in range(20):
        pace.left_by("10.0.0.1")
    assert len(caplog.records) == 1
