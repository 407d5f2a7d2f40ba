"""Turns of transfers that work in the event loop: one transfer in each round of the loop, however many there are."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Turn = Callable[[], Awaitable[None]]


@contextmanager
def taking_turns() -> Iterator[Turn]:
    """Take part; the transfer awaits the given callable before each turn of at most some hundred microseconds.

    A request that is answered meanwhile needs a dozen rounds of the loop. If each relay had a turn in every round,
    eight relays would make the request wait a dozen times eight turns. This way it waits a dozen turns. No relay is
    starved, because the line is first come, first served. A relay that is alone pays nothing.
    """
    line = _LINES.setdefault(asyncio.get_running_loop(), _Line())
    line.members += 1
    try:
        yield line.wait_turn
    finally:
        line.members -= 1


class _Line:
    """The transfers of one event loop that take turns, and those that wait for their turn."""

    def __init__(self) -> None:
        self.members = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait_turn(self) -> None:
        if self.members == 1:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._admit_next, loop)
        await turn

    def _admit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._waiting.popleft()
        if not turn.done():
            turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._admit_next, loop)


# The rounds of a loop are shared by all that runs in it, so this cannot belong to any part that is built.
_LINES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Line]] = WeakKeyDictionary()
