"""Where layers come from, as a test says."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.cluster.contract.index import ClaimReply
from registryd.content.growing import NotArrived
from registryd.content.source import ContentNotFound
from registryd.notation import Address
from registryd.transfer.errors import SourceBroken
from tests.cluster.receiving import now
from tests.fakes.bodies import WitnessedBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.cluster.fetch.intake import Urgency
    from registryd.content.sought import Sought
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

SOURCE = Address("10.0.0.7", 3173)
NOBODY = ClaimReply()
GROWING = ClaimReply((SOURCE,))
WHOLE = ClaimReply((SOURCE,), is_whole=True)

PIECE = 256 * 1024


class Arriving:
    """What a source gives: `data` as far as it has come there, and the rest when it has; or the end of the source."""

    def __init__(self, data: bytes, come: int | None = None) -> None:
        self.data = data
        self.come = len(data) if come is None else come
        self.withheld = 0
        self.is_broken = False
        self._changed = asyncio.Event()

    def arrive(self, come: int | None = None) -> None:
        self.come = len(self.data) if come is None else come
        self._changed.set()

    def break_off(self) -> None:
        self.is_broken = True
        self._changed.set()

    async def wait_beyond(self, position: int) -> None:
        while self.come <= position:
            if self.is_broken:
                raise SourceBroken("the source is gone")
            self._changed.clear()
            await self._changed.wait()

    def body(self, span: Span) -> Body:
        return ArrivingBody(self, span)


class ArrivingBody:
    def __init__(self, source: Arriving, span: Span) -> None:
        self._source = source
        self._span = span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        position = self._span.start
        while position < self._span.stop:
            await self._source.wait_beyond(position)
            piece = self._source.data[position : min(position + PIECE, self._source.come, self._span.stop)]
            await sink.write(piece)
            position += len(piece)

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass
class ScriptedFinder:
    """Keeps what was claimed, when, and what was opened.

    `decide` is the index nodes: a verdict, or None when none answers, after `claim_seconds`. A source that has nothing
    of it yet says so after `patience`.
    """

    decide: Callable[[Digest, Urgency], ClaimReply | None] = lambda _digest, _urgency: NOBODY
    sources: dict[Digest, Arriving] = field(default_factory=dict)
    patience: float = 5.0
    claim_seconds: float = 0.001
    failure: Exception | None = None
    claims: defaultdict[Digest, list[tuple[Urgency, float]]] = field(default_factory=lambda: defaultdict(list))
    follows: list[tuple[Digest, int]] = field(default_factory=list)
    bodies: list[WitnessedBody] = field(default_factory=list)

    async def claim(self, sought: Sought, size: int, urgency: Urgency) -> ClaimReply | None:
        digest = sought.digest
        self.claims[digest].append((urgency, now()))
        await asyncio.sleep(self.claim_seconds)
        return self.decide(digest, urgency)

    async def follow(self, sought: Sought, span: Span, verdict: ClaimReply) -> Body:
        digest = sought.digest
        self.follows.append((digest, span.start))
        if self.failure is not None:
            raise self.failure
        source = self.sources.get(digest)
        if source is None:
            raise ContentNotFound("the source has nothing of it")
        try:
            async with asyncio.timeout(self.patience):
                await source.wait_beyond(span.start)
        except TimeoutError:
            raise NotArrived("it is at work", received=source.come + source.withheld) from None
        self.bodies.append(WitnessedBody(source.body(span)))
        return self.bodies[-1]

    def urgencies(self, digest: Digest) -> list[Urgency]:
        return [urgency for urgency, _ in self.claims[digest]]

    @property
    def left_open(self) -> int:
        return sum(not body.is_closed for body in self.bodies)
