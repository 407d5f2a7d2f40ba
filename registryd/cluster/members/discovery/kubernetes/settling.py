"""Many changes in a row become one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

T = TypeVar("T")


async def settled(values: AsyncGenerator[T, None], *, seconds: float) -> AsyncGenerator[T, None]:
    """Yield the first value at once; then, `seconds` after each new value, the newest value.

    `values` must not end. The caller that opened it closes it, after this one.
    """
    upcoming = _ask(values)
    try:
        first = await upcoming
        upcoming = _ask(values)
        yield first
        while True:
            newest = await upcoming
            upcoming = _ask(values)
            until = asyncio.get_running_loop().time() + seconds
            while await _is_done_by(upcoming, until):
                newest = upcoming.result()
                upcoming = _ask(values)
            yield newest
    finally:
        upcoming.cancel()
        await asyncio.wait({upcoming})


def _ask(values: AsyncGenerator[T, None]) -> asyncio.Task[T]:
    return asyncio.create_task(_next_of(values), name="wait for the next value")


async def _next_of(values: AsyncGenerator[T, None]) -> T:
    return await anext(values)


async def _is_done_by(task: asyncio.Task[T], until: float) -> bool:
    left = max(0.0, until - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait({task}, timeout=left)
    return bool(done)
