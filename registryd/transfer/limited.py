"""A body from a peer that takes no more than an allowance gives; bodies to peers: `registryd.transfer.uploads`.

The checks that judge a source count the waiting as the receiver's: a limit of this node is not the fault of the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.transfer.allowance import Priority, Ticket
from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.transfer.allowance import Allowance
    from registryd.transfer.body import Body

# The bytes of one write, so that a low rate comes evenly; as many as a copying relay holds.
_STEP_BYTES: Final = 256 * 1024


class LimitedBody:
    """Another body, whose bytes are from the allowance."""

    def __init__(
        self, body: Body, allowance: Allowance, priority: Callable[[], Priority] = lambda: Priority.PULL
    ) -> None:
        """`priority` is asked at each step: a pod may come to wait for what came in the background until then."""
        self._body = body
        self._allowance = allowance
        self._priority = priority

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        await self._body.send_to(LimitedSink(sink, self._allowance, self._priority))

    async def aclose(self) -> None:
        await self._body.aclose()


class LimitedSink(Sink):
    """Another sink, which waits after each step for as long as the step costs."""

    def __init__(self, sink: Sink, allowance: Allowance, priority: Callable[[], Priority]) -> None:
        self._sink = sink
        self._allowance = allowance
        self._priority = priority
        self._ticket = Ticket()

    @property
    def fd(self) -> int | None:
        return self._sink.fd

    @property
    def sent(self) -> int:
        return self._sink.sent

    @sent.setter
    def sent(self, count: int) -> None:
        self._ticket = self._allowance.take(count - self._sink.sent, self._priority())
        self._sink.sent = count

    async def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _STEP_BYTES):
            step = view[start : start + _STEP_BYTES]
            await self._sink.write(data if len(step) == len(view) else step)
            self._ticket = self._allowance.take(len(step), self._priority())
            await self.wait_allowed()

    async def wait_writable(self) -> None:
        await self._sink.wait_writable()

    async def wait_allowed(self) -> None:
        await self._allowance.wait(self._ticket)
