from __future__ import annotations

import asyncio

import pytest

from registryd.transfer.link_room import LinkRoom
from tests.fakes.sinks import FakeSink

pytestmark = pytest.mark.looptime


async def test_everything_counts_that_is_sent_in_any_body() -> None:
    link, one, other = LinkRoom(), FakeSink(), FakeSink()
    await one.write(b"before")
    with link.counting(one):
        await one.write(b"12345")
        with link.counting(other):
            await other.write(b"123")
            assert link.total == 8
        await other.write(b"after")
        assert link.total == 8
    assert link.total == 8


async def test_a_link_is_full_at_the_rate_that_more_sources_did_not_raise() -> None:
    link = LinkRoom()
    assert not link.is_full(1e12)
    assert link.judge(100.0, 150.0, others=2)
    assert not link.judge(100.0, 110.0, others=1)
    assert not link.is_full(150.0)
    assert not link.judge(100.0, 110.0, others=2)
    assert not link.judge(10.0, 10.0, others=2)  # while other bodies were silent
    assert link.is_full(100.0)
    assert not link.is_full(70.0)
    await asyncio.sleep(10)
    assert not link.is_full(100.0)
