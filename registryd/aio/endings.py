"""Clean-up that is finished even if its task is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def run_to_end(cleanup: Coroutine[Any, Any, T], *, name: str) -> T:
    """Await a clean-up to its end; a cancellation that arrives meanwhile is raised after it.

    For short clean-ups only: a caller's time-out has to wait for them.
    """
    task = asyncio.create_task(cleanup, name=name)
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        raise interruption from task.exception()
    return task.result()
