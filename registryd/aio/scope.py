"""A scope that owns named tasks, so that none is forgotten and none dies unnoticed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextvars import Context

    Job = Callable[[], Coroutine[Any, Any, object]]


class EndedUnexpectedly(Exception):
    """A service returned although nobody had stopped it."""


class Scope:
    """Runs tasks until the scope ends; made by `open_scope`."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_stopped = False

    def serve(self, service: Job, *, name: str) -> asyncio.Task[object]:
        """Run something that is to last as long as the scope: if it returns or raises, the scope comes down."""
        return self._start(_endless(service, name), name)

    def run(self, job: Job, *, name: str, context: Context | None = None) -> asyncio.Task[object]:
        """Run something that may return, or be cancelled, at any time; if it raises, the scope comes down.

        In a `context` of its own, or else in that of the caller. What is begun when the scope has been stopped is
        cancelled at once: others may still be at work that know nothing of its end.
        """
        return self._start(job(), name, context)

    def stop(self) -> None:
        """Cancel everything that runs, and whatever is begun from now on."""
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()

    def _start(
        self, work: Coroutine[Any, Any, object], name: str, context: Context | None = None
    ) -> asyncio.Task[object]:
        task = self._group.create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_stopped:
            task.cancel()
        return task


@asynccontextmanager
async def open_scope() -> AsyncIterator[Scope]:
    """Open a scope; when its block ends, all its tasks are cancelled and awaited.

    A task that fails cancels the block. Failures, the block's own included, are raised as one ExceptionGroup, as
    asyncio.TaskGroup does.
    """
    async with asyncio.TaskGroup() as group:
        scope = Scope(group)
        try:
            yield scope
        finally:
            scope.stop()


async def _endless(service: Job, name: str) -> None:
    await service()
    raise EndedUnexpectedly(name)
