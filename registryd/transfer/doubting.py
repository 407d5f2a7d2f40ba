"""Asking, now and then, whether a source that takes long is the one that is slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.transfer.leaving import send_until
from registryd.transfer.meter import MeteredSink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.transfer.body import Body
    from registryd.transfer.meter import Reading
    from registryd.transfer.sink import Sink

    IsSlow = Callable[[int, float], Awaitable[bool]]

# Between looks at a source. Slow nodes below each other are found one after the other, each within two looks: by
# simulation of 100 nodes in a chain, eight of them slow, half a second is a quarter quicker than a second.
_PAUSE_SECONDS: Final = 0.5
# Later, an eighth of what the body has lasted so far: what takes ten times as long costs a dozen questions more.
_PAUSE_SHARE: Final = 1 / 8
_LONGEST_PAUSE_SECONDS: Final = 30.0
# What is left is to take so long at the present rate: below, a better source hardly pays for its search, and waves of
# some seconds ask nothing at all.
_WORTH_SECONDS: Final = 10.0


class DoubtedBody:
    """Another body, from byte `start` of its content; broken when `is_slow` says that its source holds it up.

    `is_slow` is asked when the receiver has been waiting for the source, and would have to for long. It is given what
    has arrived, in bytes from the content's beginning, and the rate since the look before the last, in bytes a second:
    what containerd writes comes in steps of a MiB.
    """

    def __init__(self, body: Body, start: int, *, is_slow: IsSlow) -> None:
        self._body = body
        self._start = start
        self._is_slow = is_slow

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        metered = MeteredSink(sink)
        await send_until(self._watch(metered), self._body, metered, reason="it is slower than others beside it")

    async def aclose(self) -> None:
        await self._body.aclose()

    async def _watch(self, sink: MeteredSink) -> None:
        begun = latest = before = sink.read_meter()
        while True:
            lasted = latest.at - begun.at
            await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(_PAUSE_SECONDS, lasted * _PAUSE_SHARE)))
            now = sink.read_meter()
            sent = now.sent - begun.sent
            if self._takes_long(before, now, self.length - sent):
                rate = (now.sent - before.sent) / (now.at - before.at)
                if await self._is_slow(self._start + sent, rate):
                    return
            before, latest = latest, now

    def _takes_long(self, before: Reading, now: Reading, left: int) -> bool:
        return now.is_starved(before) and left > now.rate_since(before) * _WORTH_SECONDS
