"""Threads that write, so that a disk which is slow to sync never keeps a reader waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

# As many layers as containerd fetches at once by default, and one: each keeps a core busy with hashing or the disk
# with syncing. Of the process, for the same reasons as the pool of readers.
_WRITERS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="registryd-write")


async def run_writing(call: Callable[[], _T]) -> _T:
    """Run a call that writes, syncs or waits for a lock; cancelling takes effect when it has returned."""
    return await run_in_pool(call, pool=_WRITERS)
