"""A body that tells how much of it has been sent: what has come from a source is counted where it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink


class CountedBody:
    """Another body; `count` is told its bytes when it has been sent, or has broken off."""

    def __init__(self, body: Body, count: Callable[[int], None]) -> None:
        self._body = body
        self._count = count

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        before = sink.sent
        try:
            await self._body.send_to(sink)
        finally:
            self._count(sink.sent - before)

    async def aclose(self) -> None:
        await self._body.aclose()
