"""Owners of tasks, so that no task is forgotten and none dies unnoticed: a scope, or the caller of one task."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from registryd.aio.backoff import Backoff
from registryd.aio.unexpected import note_unexpected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextvars import Context

    Job = Callable[[], Coroutine[Any, Any, object]]

T = TypeVar("T")

# A service that fails begins again, soon after its first failure, because the state that it follows has changed
# meanwhile. A service that fails at once each time costs a log line a minute.
_AGAIN: Final = Backoff(1.0, 60.0)
# A service that has run for so long has got over what it failed of before.
_IS_WELL_SECONDS: Final = 300.0


class EndedUnexpectedly(Exception):
    """A service returned although it was not stopped."""


class Scope:
    """Runs tasks until the scope ends; made by `open_scope`.

    No exception of a task ends the scope. An unforeseen input must not end the agent, because its sender can send it
    again. The exception goes to the log (`registryd.aio.unexpected`).
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_stopped = False

    def serve(self, service: Job, *, name: str) -> asyncio.Task[object]:
        """Run something that is to last as long as the scope: if it returns or raises, it is begun again."""
        return self._start(_endless(service, name), name)

    def run(self, job: Job, *, name: str, context: Context | None = None) -> asyncio.Task[object]:
        """Run something that may return, raise, or be cancelled, at any time; the task's result is None if it raised.

        In a `context` of its own, or else in that of the caller. What is begun when the scope has been stopped is
        cancelled at once: others may still be at work that know nothing of its end.
        """
        return self._start(_attempted(job, name), name, context)

    def stop(self) -> None:
        """Cancel all running tasks, and every task that begins from now on."""
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

    What the block raises comes in an ExceptionGroup, as asyncio.TaskGroup does it.
    """
    async with asyncio.TaskGroup() as group:
        scope = Scope(group)
        try:
            yield scope
        finally:
            scope.stop()


async def _attempted(job: Job, name: str) -> object:
    try:
        return await job()
    except Exception as error:  # noqa: BLE001 - see Scope
        note_unexpected(name, error)
        return None


async def _endless(service: Job, name: str) -> None:
    failures, clock = 0, asyncio.get_running_loop().time
    while True:
        began = clock()
        await _attempted(lambda: _unending(service, name), name)
        failures = 1 if clock() - began > _IS_WELL_SECONDS else failures + 1
        await asyncio.sleep(_AGAIN.delay(failures))


async def _unending(service: Job, name: str) -> None:
    await service()
    raise EndedUnexpectedly(name)


# ---------------------------------------------------------------- one task beside its caller


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


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Let the work run in a task during the block, at whose end it is cancelled; raises what it raised.

    What the block raises goes before that, also when the block is cancelled: what the work raised is logged then.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    except BaseException:
        await _end(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            note_unexpected(name, failure)
        raise
    await _end(task)
    if not task.cancelled():
        task.result()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
