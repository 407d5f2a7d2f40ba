from __future__ import annotations

import asyncio

import pytest

from registryd.aio.endings import run_to_end

pytestmark = pytest.mark.looptime


async def test_gives_the_result_of_the_cleanup() -> None:
    assert await run_to_end(asyncio.sleep(1, "done"), name="cleanup") == "done"


async def test_raises_what_the_cleanup_raises() -> None:
    async def fail() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await run_to_end(fail(), name="cleanup")


async def test_a_time_out_is_raised_after_the_cleanup(looptime: int) -> None:
    ended = False

    async def slow() -> None:
        nonlocal ended
        await asyncio.sleep(3)
        ended = True

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await run_to_end(slow(), name="cleanup")
    assert ended
    assert looptime == 3


async def test_two_cancellations_do_not_stop_it(looptime: int) -> None:
    waiting = asyncio.create_task(run_to_end(asyncio.sleep(5), name="cleanup"))
    for _ in range(2):
        await asyncio.sleep(1)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert looptime == 5
