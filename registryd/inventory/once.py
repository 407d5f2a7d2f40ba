"""One look at each piece of content, however many images it is of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from registryd.content.source import ContentUnavailable
    from registryd.oci.digest import Digest

    Look = Callable[[], Coroutine[Any, Any, ContentUnavailable | None]]
    """What is wrong with a piece of content; None when nothing is."""


class Once:
    """Remembers what was right, and what was wrong as well unless it is looked at `again`; the group owns the looks."""

    def __init__(self, group: asyncio.TaskGroup, *, again: bool) -> None:
        self._group = group
        self._again = again
        # 64 characters for a piece of content, not its Digest: lists of thousands of images have some 100,000 pieces.
        self._known: dict[str, ContentUnavailable | None] = {}
        self._running: dict[str, asyncio.Task[ContentUnavailable | None]] = {}

    async def problem_of(self, digest: Digest, look: Look) -> ContentUnavailable | None:
        """What is wrong with it, looked at now unless it was before."""
        key = digest.encoded
        if key in self._known:
            return self._known[key]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = self._group.create_task(look(), name=f"look at {digest}")
            task.add_done_callback(lambda done: self._end(key, done))
        await asyncio.wait((task,))
        return task.result()

    def _end(self, key: str, task: asyncio.Task[ContentUnavailable | None]) -> None:
        del self._running[key]
        if not task.cancelled() and not task.exception() and not (self._again and task.result()):
            self._known[key] = task.result()
