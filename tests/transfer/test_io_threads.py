from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registryd.transfer.io_threads import run_in_pool


async def test_gives_the_result_and_the_error_of_the_call() -> None:
    assert await run_in_pool(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await run_in_pool(lambda: 1 // 0)


@pytest.mark.parametrize("call_fails", [False, True])
async def test_cancelling_takes_effect_when_the_call_has_returned(*, call_fails: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go_on.wait()
        if call_fails:
            raise OSError

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    running = asyncio.create_task(run_in_pool(call))
    await asyncio.sleep(0)
    begun.wait()
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
        assert not running.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    del running
    await asyncio.sleep(0)
    gc.collect()
    assert not complaints, "asyncio tells of an exception that nobody has looked at when it is collected"


async def test_a_cancelled_call_that_no_thread_has_begun_is_never_made() -> None:
    go_on = threading.Event()
    made = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait)
        running = asyncio.create_task(run_in_pool(lambda: made.append(1), pool=pool))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        go_on.set()
    assert not made
