from __future__ import annotations

import asyncio

import pytest

from registryd.aio.bound import bounded, off_the_clock

pytestmark = pytest.mark.looptime


async def test_a_bound_ends_what_takes_too_long(looptime: object) -> None:
    with pytest.raises(TimeoutError):
        async with bounded(3):
            await asyncio.sleep(10)
    assert looptime == 3


async def test_time_off_the_clock_does_not_count(looptime: object) -> None:
    async def work() -> None:
        async with bounded(3):
            await asyncio.sleep(2)
            with off_the_clock():
                await asyncio.sleep(100)
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await work()
    assert looptime == 103


async def test_tasks_that_were_started_within_stop_the_clock_too(looptime: object) -> None:
    async def wait() -> None:
        with off_the_clock():
            await asyncio.sleep(20)

    async with bounded(3), asyncio.TaskGroup() as group:
        group.create_task(wait())
        group.create_task(wait())
    assert looptime == 20


async def test_the_clock_goes_on_when_the_last_has_started_it_again(looptime: object) -> None:
    async def wait(seconds: float) -> None:
        with off_the_clock():
            await asyncio.sleep(seconds)

    async def work() -> None:
        async with bounded(3), asyncio.TaskGroup() as group:
            group.create_task(wait(5))
            group.create_task(wait(7))
            group.create_task(asyncio.sleep(100))

    with pytest.raises(TimeoutError):
        await work()
    assert looptime == 10


async def test_all_bounds_around_it_stand_still(looptime: object) -> None:
    async with bounded(3), bounded(2):
        with off_the_clock():
            await asyncio.sleep(10)
    assert looptime == 10


async def test_without_a_bound_it_is_nothing() -> None:
    with off_the_clock():
        await asyncio.sleep(1)


async def test_cancelling_is_not_a_time_out() -> None:
    async def work() -> None:
        async with bounded(3):
            with off_the_clock():
                await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
