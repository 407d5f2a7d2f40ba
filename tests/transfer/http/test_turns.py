from __future__ import annotations

import asyncio

import pytest

from registryd.transfer.http.relay import taking_turns


async def test_one_has_its_turn_in_each_round_and_in_order() -> None:
    turns: list[int] = []

    async def take_part(number: int) -> None:
        with taking_turns() as turn:
            for _ in range(3):
                await turn()
                turns.append(number)

    taking_part = [asyncio.create_task(take_part(number)) for number in range(4)]
    rounds = 0
    before = 0
    while len(turns) < 12:
        await asyncio.sleep(0)
        rounds += 1
        assert len(turns) - before <= 1
        before = len(turns)
    await asyncio.gather(*taking_part)
    assert turns == [0, 1, 2, 3] * 3
    assert rounds < 24  # next to no round without a turn


async def test_who_is_alone_waits_for_one_round_only() -> None:
    with taking_turns() as turn:
        others = 0

        async def count() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for _ in range(10):
            await turn()
        counting.cancel()
        assert others == 10


async def test_who_is_cancelled_leaves_the_line() -> None:
    async def take_part() -> None:
        with taking_turns() as turn:
            while True:
                await turn()

    first, second = (asyncio.create_task(take_part()) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    for one in (first, second):
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
    with taking_turns() as turn:
        await turn()
