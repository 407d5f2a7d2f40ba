from __future__ import annotations

import asyncio

import pytest

from registryd.cluster.health.coming_back import Refusals
from registryd.oci.digest import Digest

DIGEST = Digest.of(b"a layer")
OTHER = Digest.of(b"another layer")


@pytest.mark.looptime
async def test_a_request_for_the_same_bytes_comes_back() -> None:
    refusals = Refusals()
    refusals.note(DIGEST, 1000)
    await asyncio.sleep(10)
    assert not refusals.take(DIGEST, 1001), "it got those before from elsewhere"
    assert not refusals.take(OTHER, 0)
    assert refusals.take(DIGEST, 1000)


@pytest.mark.looptime
async def test_each_refusal_counts_once() -> None:
    """What breaks off on the way to that byte is refused, so that it comes from the origin."""
    refusals = Refusals()
    refusals.note(DIGEST, 1000)
    await asyncio.sleep(10)
    assert refusals.take(DIGEST, 0)
    assert not refusals.take(DIGEST, 500)


@pytest.mark.looptime
async def test_after_a_minute_nobody_is_avoided_any_more() -> None:
    refusals = Refusals()
    refusals.note(DIGEST, 1000)
    await asyncio.sleep(60)
    assert not refusals.take(DIGEST, 0)


@pytest.mark.looptime
async def test_chunks_that_are_asked_for_side_by_side_are_no_return() -> None:
    refusals = Refusals()
    refusals.note(DIGEST, 1000)
    await asyncio.sleep(0.5)
    assert not refusals.take(DIGEST, 0)


@pytest.mark.looptime
async def test_who_asks_twice_a_second_comes_back_after_a_second_all_the_same() -> None:
    refusals = Refusals()
    asked = []
    for _ in range(4):
        asked.append(refusals.take(DIGEST, 0))
        refusals.note(DIGEST, 0)
        await asyncio.sleep(0.4)
    assert asked == [False, False, False, True]


@pytest.mark.looptime
async def test_only_the_latest_thousand_are_remembered() -> None:
    refusals = Refusals()
    for number in range(1001):
        refusals.note(Digest.of(number.to_bytes(2, "big")), 0)
    await asyncio.sleep(2)
    assert not refusals.take(Digest.of(bytes(2)), 0)
    assert refusals.take(Digest.of((1).to_bytes(2, "big")), 0)
