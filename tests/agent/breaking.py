"""Breaking what runs in the background of this process: whatever a task waits for fails as nobody has expected."""

from __future__ import annotations

import asyncio
from typing import Any, cast


class Broken(Exception):
    """Nothing that anybody catches by name."""


def named_tasks() -> set[str]:
    """The names of all tasks but that of the test itself."""
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def break_task(name: str) -> None:
    """Make the innermost wait of the task of that name raise, as soon as there is one that can."""
    async with asyncio.timeout(40):
        while not _break(name):  # noqa: ASYNC110 - no event tells of what tasks wait for
            await asyncio.sleep(0.01)


def _break(name: str) -> bool:
    waiting: Any = next((task for task in asyncio.all_tasks() if task.get_name() == name), None)
    while isinstance(waiting, asyncio.Task):
        if _is_of_grpc(waiting):
            return False  # gRPC gives its result to the future whether or not that has one
        waiting = cast("Any", waiting)._fut_waiter
    if not isinstance(waiting, asyncio.Future) or waiting.done():
        return False
    try:
        waiting.set_exception(Broken(name))
    except (RuntimeError, asyncio.InvalidStateError):  # asyncio.gather's
        return False
    return True


def _is_of_grpc(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is None or "/grpc/" in code.co_filename
