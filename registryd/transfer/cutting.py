"""Bodies that are broken off while they are sent, because what they are must not be sent any more."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

K = TypeVar("K")


class Cuts(Generic[K]):
    """The bodies that are being sent, each by what it is. A body under way costs an entry and no task."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Timeout, K] = {}

    def __len__(self) -> int:
        return len(self._running)

    def cut(self, is_meant: Callable[[K], bool]) -> int:
        """Break those off; how many these were. Only to be called in the event loop that sends them."""
        meant = [limit for limit, what in self._running.items() if is_meant(what)]
        for limit in meant:
            del self._running[limit]
            limit.reschedule(asyncio.get_running_loop().time())
        return len(meant)

    @contextmanager
    def watching(self, what: K, limit: asyncio.Timeout) -> Iterator[None]:
        """A body is sent within the block, which the limit is around."""
        self._running[limit] = what
        try:
            yield
        finally:
            self._running.pop(limit, None)


class CuttableBody(Generic[K]):
    """Another body. When it is cut it has ended as if its source had: with SourceBroken, after what was sent."""

    def __init__(self, body: Body, cuts: Cuts[K], what: K, *, is_cut: Callable[[K], bool], reason: str) -> None:
        """`is_cut` tells when the sending begins: a body may have been opened a while before."""
        self._body = body
        self._cuts = cuts
        self._what = what
        self._is_cut = is_cut
        self._reason = reason

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        if self._is_cut(self._what):
            raise SourceBroken(self._reason)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                with self._cuts.watching(self._what, limit):
                    await self._body.send_to(sink)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise SourceBroken(self._reason) from error

    async def aclose(self) -> None:
        await self._body.aclose()
