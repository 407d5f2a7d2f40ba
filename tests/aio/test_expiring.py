from __future__ import annotations

import asyncio

import pytest

from registryd.aio.expiring import ExpiringSet

pytestmark = pytest.mark.looptime


async def test_what_was_put_in_is_there_for_a_while() -> None:
    kept: ExpiringSet[str] = ExpiringSet(lifetime=10, capacity=5)
    kept.add("a")
    await asyncio.sleep(9)
    assert "a" in kept
    await asyncio.sleep(1)
    assert "a" not in kept
    assert len(kept) == 0


async def test_adding_again_begins_anew() -> None:
    kept: ExpiringSet[str] = ExpiringSet(lifetime=10, capacity=5)
    kept.add("a")
    await asyncio.sleep(6)
    kept.add("a")
    await asyncio.sleep(6)
    assert "a" in kept


async def test_the_oldest_makes_room() -> None:
    kept: ExpiringSet[int] = ExpiringSet(lifetime=10, capacity=3)
    for item in range(5):
        kept.add(item)
    assert [item in kept for item in range(5)] == [False, False, True, True, True]
    assert len(kept) == 3


async def test_the_expired_are_dropped_when_something_is_added() -> None:
    kept: ExpiringSet[int] = ExpiringSet(lifetime=10, capacity=3)
    for item in range(3):
        kept.add(item)
    await asyncio.sleep(10)
    kept.add(9)
    assert len(kept) == 1
