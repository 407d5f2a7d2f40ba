"""Breaking off a body while it is sent: there is a better source, or what the body is must not be sent any more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from registryd.aio.cancelling import CancelScope
from registryd.aio.scope import alongside
from registryd.transfer.errors import SourceBroken, SourceLeft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

K = TypeVar("K")


async def send_until(leave: Coroutine[Any, Any, str], body: Body, sink: Sink) -> None:
    """Send the body; raises SourceLeft for the reason that `leave` returns before, and what it raises."""
    sending, reason = CancelScope(), ""

    async def watch() -> None:
        nonlocal reason
        reason = await leave
        sending.cancel()

    try:
        async with sending, alongside(watch(), name="watch a source"):
            await body.send_to(sink)
    finally:
        leave.close()  # a body that is sent at once ends before anybody has begun to watch it
    if sending.cancelled_caught:
        raise SourceLeft(reason)


class Cuts(Generic[K]):
    """The bodies that are being sent, each by what it is. A body under way costs an entry and no task."""

    def __init__(self, reason: Callable[[K], str]) -> None:
        """`reason` says why a body is broken off."""
        self._reason = reason
        self._running: dict[CancelScope, K] = {}

    def __len__(self) -> int:
        return len(self._running)

    def cut(self, is_meant: Callable[[K], bool]) -> int:
        """Break those off; how many these were. Only to be called in the event loop that sends them."""
        return sum(sending.cancel() for sending, what in self._running.items() if is_meant(what))

    @asynccontextmanager
    async def sending(self, what: K, *, is_cut: Callable[[K], bool]) -> AsyncIterator[None]:
        """A body of this is sent within the block; raises SourceBroken when it is cut."""
        if is_cut(what):
            raise SourceBroken(self._reason(what))
        sending = CancelScope()
        self._running[sending] = what
        try:
            async with sending:
                yield
        finally:
            del self._running[sending]
        if sending.cancelled_caught:
            raise SourceBroken(self._reason(what))


class CuttableBody(Generic[K]):
    """Another body. When it is cut it has ended as if its source had: with SourceBroken, after what was sent."""

    def __init__(self, body: Body, cuts: Cuts[K], what: K, *, is_cut: Callable[[K], bool]) -> None:
        """`is_cut` tells when the sending begins: a body may have been opened a while before."""
        self._body = body
        self._cuts = cuts
        self._what = what
        self._is_cut = is_cut

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        async with self._cuts.sending(self._what, is_cut=self._is_cut):
            await self._body.send_to(sink)

    async def aclose(self) -> None:
        await self._body.aclose()
