from __future__ import annotations

import asyncio

import pytest

from registryd.aio.turns import Turns

# What the test's tasks do is told in this order.
BOTH_IN_ORDER = ["a begins", "b begins", "b ends", "a ends", "a2 begins", "a2 ends"]


async def test_those_with_the_same_key_take_turns_and_others_do_not_wait() -> None:
    turns: Turns[str] = Turns()
    told: list[str] = []
    free = {name: asyncio.Event() for name in ("a", "a2", "b")}

    async def work(key: str, name: str) -> None:
        async with turns.turn(key):
            told.append(f"{name} begins")
            await free[name].wait()
            told.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(name[0], name)) for name in ("a", "a2", "b")]
        for name, task in (("b", tasks[2]), ("a", tasks[0]), ("a2", tasks[1])):
            free[name].set()
            await task
    assert told == BOTH_IN_ORDER


async def test_one_that_fails_or_is_cancelled_gives_its_turn_to_the_next() -> None:
    turns: Turns[str] = Turns()
    entered = asyncio.Event()

    async def hold() -> None:
        async with turns.turn("a"):
            entered.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await entered.wait()
    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    for task in (waiting, holder):
        task.cancel()
    await asyncio.gather(holder, waiting, return_exceptions=True)
    with pytest.raises(ValueError, match="no"):
        async with turns.turn("a"):
            raise ValueError("no")
    async with asyncio.timeout(30), turns.turn("a"):
        pass
