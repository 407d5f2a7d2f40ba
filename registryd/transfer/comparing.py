"""Leaving a source that is alive but much slower than others, when one of those has the content too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.transfer.leaving import send_until
from registryd.transfer.meter import MeteredSink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from registryd.transfer.body import Body
    from registryd.transfer.meter import Reading
    from registryd.transfer.sink import Sink

# How often a source is looked at, and so how long it may say nothing before somebody else is looked for. TCP sends a
# lost segment again after 0.2 and 0.6 s: two in a row are waited for, and changing costs a connection.
_LOOK_SECONDS: Final = 1.0
# "Much slower": a node's own link is often shared by some layers at a time, which makes each of them that much slower.
_MUCH_SLOWER: Final = 10
# Who gave so much less is not chosen while there are others.
_SLOWER: Final = 4
# Short bodies say little about a source: a megabyte may come out of buffers.
_TELLING_BYTES: Final = 1024 * 1024
# What a source gave is remembered for so long; of more sources, the latest.
_REMEMBERED_SECONDS: Final = 300.0
_REMEMBERED: Final = 100


class RecentRates:
    """What sources gave lately, in bytes a second."""

    def __init__(self) -> None:
        self._rates: dict[Hashable, tuple[float, float]] = {}

    def note(self, source: Hashable, *, rate: float) -> None:
        """It gave that much."""
        self._rates.pop(source, None)
        if len(self._rates) >= _REMEMBERED:
            del self._rates[next(iter(self._rates))]
        self._rates[source] = (rate, _now())

    def of(self, source: Hashable) -> float | None:
        """What it gave; None when that is not known."""
        rate, at = self._rates.get(source, (0.0, 0.0))
        return rate if rate and at >= _now() - _REMEMBERED_SECONDS else None

    def is_slow(self, source: Hashable) -> bool:
        """Whether it gave much less than others."""
        rate = self.of(source)
        return rate is not None and rate * _SLOWER < self.typical_of_others(source)

    def typical_of_others(self, source: Hashable) -> float:
        """What others gave, the median (of two, the higher); 0 when nothing is known."""
        known_since = _now() - _REMEMBERED_SECONDS
        rates = sorted(rate for other, (rate, at) in self._rates.items() if other != source and at >= known_since)
        return rates[len(rates) // 2] if rates else 0.0


class ComparedBody:
    """Another body, broken when its source is silent or much slower than others are, and `has_other` says yes.

    `has_other`: whether somebody else has the content; asked at most once a second, when the source has been found too
    slow. What the source gave is noted in the end, whole or not.
    """

    def __init__(
        self, body: Body, *, source: Hashable, rates: RecentRates, has_other: Callable[[], Awaitable[bool]]
    ) -> None:
        self._body = body
        self._source = source
        self._rates = rates
        self._has_other = has_other

    @property
    def length(self) -> int:
        return self._body.length

    async def send_to(self, sink: Sink) -> None:
        metered = MeteredSink(sink)
        begun = metered.read_meter()
        reason = "others are much quicker, and somebody has it"
        try:
            await send_until(self._watch(metered), self._body, metered, reason=reason)
        finally:
            self._note(begun, metered.read_meter())

    async def aclose(self) -> None:
        await self._body.aclose()

    async def _watch(self, sink: MeteredSink) -> None:
        before = sink.read_meter()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = sink.read_meter()
            if self._is_much_slower(before, now) and await self._has_other():
                return
            before = sink.read_meter()

    def _is_much_slower(self, before: Reading, now: Reading) -> bool:
        if not now.is_starved(before):
            return False
        typical = self._rates.typical_of_others(self._source)
        return now.sent == before.sent or now.rate_since(before) * _MUCH_SLOWER < typical

    def _note(self, begun: Reading, ended: Reading) -> None:
        if ended.sent - begun.sent >= _TELLING_BYTES and ended.is_starved(begun):
            self._rates.note(self._source, rate=ended.rate_since(begun))


def _now() -> float:
    return asyncio.get_running_loop().time()
