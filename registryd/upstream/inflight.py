"""Questions under way: asked once for any number of callers, and asked to the end even if no caller waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from registryd.aio.scope import Scope

    Question = Callable[[], Coroutine[Any, Any, None]]

K = TypeVar("K", bound="Hashable")


class InFlight(Generic[K]):
    """At most one running question per key, and at most `most` in all; the scope owns them."""

    def __init__(self, scope: Scope, *, most: int) -> None:
        self._scope = scope
        self._most = most
        self._running: dict[K, asyncio.Task[object]] = {}

    def start(self, key: K, question: Question, *, name: str) -> asyncio.Task[object] | None:
        """The running question of that key, started if there is none; None when too many run. It must not raise."""
        task = self._running.get(key)
        if task is None and len(self._running) < self._most:
            task = self._running[key] = self._scope.run(question, name=name)
            task.add_done_callback(lambda _: self._running.pop(key))
        return task

    async def wait(self, key: K, question: Question, *, name: str, patience: float) -> None:
        """Wait for the question of that key to end, but not longer than so many seconds: it goes on without us."""
        task = self.start(key, question, name=name)
        if task is not None:
            await asyncio.wait((task,), timeout=patience)
