"""Threads for system calls that may sleep on a disk, so that the event loop never does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

_T = TypeVar("_T")

# One pool for the process, which is never closed: threads start with the first job, a job never outlives the await that
# gave it, so an idle pool holds nothing, and the interpreter joins its threads at exit. Not the loop's default
# executor, where a name lookup may sit for half a minute. Four: a turn is over after some milliseconds, slow receivers
# are waited for in the loop; more threads would only queue more reads at the same disk.
_POOL: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="registryd-disk")


async def run_in_pool(call: Callable[[], _T], *, pool: Executor = _POOL) -> _T:
    """Run a system call in a thread of the pool: the pool for reading, or the caller's own pool for slower work.

    Cancelling takes effect when the call has returned. Until then the kernel works with the caller's descriptors, and a
    descriptor closed meanwhile would give its number to the next file that is opened.
    """
    job = pool.submit(call)
    result = asyncio.wrap_future(job)
    try:
        await asyncio.wait((result,))
    except asyncio.CancelledError:
        if not job.cancel():  # a thread has begun with it
            await _wait_returned(result)
            result.exception()  # looked at, so that asyncio does not complain that nobody did
        raise
    return result.result()


async def _wait_returned(result: asyncio.Future[_T]) -> None:
    while not result.done():
        try:
            await asyncio.wait((result,))
        except asyncio.CancelledError:
            continue  # the first one is raised when the call has returned
