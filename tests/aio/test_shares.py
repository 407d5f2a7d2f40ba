from __future__ import annotations

import asyncio

import pytest

from registryd.aio.shares import NoPlace, Shares

pytestmark = pytest.mark.looptime


async def hold(shares: Shares[str], who: str, seconds: float, log: list[str]) -> None:
    async with shares.place(who):
        log.append(who)
        await asyncio.sleep(seconds)


async def test_one_has_its_share_and_others_have_theirs() -> None:
    shares: Shares[str] = Shares(most=3, most_of_one=2)
    async with shares.place("a"), shares.place("a"):
        with pytest.raises(NoPlace):
            async with shares.place("a"):
                pytest.fail("it is one too many")
        async with shares.place("b"):
            with pytest.raises(NoPlace):
                async with shares.place("c"):
                    pytest.fail("there is none left")
    assert len(shares) == 0


async def test_who_waits_is_next_in_order_and_passes_by_those_who_may_not(looptime: int) -> None:
    shares: Shares[str] = Shares(most=2, most_of_one=1, patience=10)
    log: list[str] = []
    async with asyncio.TaskGroup() as group:
        for who, seconds in (("a", 3), ("b", 1), ("a", 1), ("c", 1), ("d", 1)):
            group.create_task(hold(shares, who, seconds, log))
            await asyncio.sleep(0)
    assert log == ["a", "b", "c", "d", "a"]
    assert len(shares) == 0
    assert looptime == 4


async def test_who_waits_too_long_goes_without(looptime: int) -> None:
    shares: Shares[str] = Shares(most=1, most_of_one=1, patience=2)
    async with shares.place("a"):
        with pytest.raises(NoPlace):
            async with shares.place("b"):
                pytest.fail("it is taken")
        assert looptime == 2
        waiting = asyncio.create_task(hold(shares, "b", 1, []))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait((waiting,))
    assert len(shares) == 0
    async with shares.place("c"):
        pass
