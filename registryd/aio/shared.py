"""One answer for all callers that ask the same at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from registryd.aio.scope import Scope

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Shared(Generic[K, V]):
    """At most one running question per key. It goes on when its callers are cancelled; the scope ends it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._running: dict[K, asyncio.Future[V]] = {}

    async def get(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]], *, name: str) -> V:
        """The answer to the question of that key, asked now unless it is being asked; raises what asking raises."""
        answer = self._running.get(key)
        if answer is None:
            answer = self._running[key] = asyncio.get_running_loop().create_future()
            task = self._scope.run(partial(_settle, ask, answer), name=name)
            task.add_done_callback(partial(self._end, key, answer))
        # Not asyncio.shield: Python 3.14.0 to 3.14.8 log a failure that comes after its caller was cancelled.
        await asyncio.wait((answer,))
        return answer.result()

    def _end(self, key: K, answer: asyncio.Future[V], _: asyncio.Task[object]) -> None:
        # Not in the task: a task that is cancelled before its first step never comes to its end.
        self._running.pop(key)
        answer.cancel()  # only if there is none, because the task was cancelled: then so are those who wait


async def _settle(ask: Callable[[], Coroutine[Any, Any, V]], answer: asyncio.Future[V]) -> None:
    try:
        answer.set_result(await ask())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to those who asked
        answer.set_exception(error)
        answer.exception()  # looked at, so that asyncio does not complain when nobody waits any more
