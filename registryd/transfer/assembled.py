"""A body that begins with one source, and is got from several when that one is what it waits for."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.scope import alongside
from registryd.transfer.breaking import send_until
from registryd.transfer.errors import AllBroken, SourceBroken, SourceBusy
from registryd.transfer.link_room import VAIN_SECONDS, LinkRoom
from registryd.transfer.monitoring.meter import MeteredSink
from registryd.transfer.together import MOST_AT_ONCE, Together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Hashable

    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.monitoring.meter import Reading
    from registryd.transfer.monitoring.rates import RecentRates
    from registryd.transfer.sink import Sink
    from registryd.transfer.slots import SlotMemory
    from registryd.transfer.supplying import Supplier

# Less than this is one request to one source.
LEAST_BYTES: Final = 16 << 20
# The bytes to ask of the first source before its rate and the other sources are known: 42 ms at 200 Mbit/s, in which
# the agent finds the others.
BEGINNING_BYTES: Final = 1 << 20
# The bytes to ask of a single source after that: further sources may be there by then. As many as take a moment.
_ALONE_BYTES: Final = 64 << 20
_ALONE_SECONDS: Final = 2.0
# While others are still being looked for, and after the beginning: how busy this process was in those milliseconds says
# little.
_SOON_BYTES: Final = 8 << 20
# A source that gives so much (bytes a second) is spliced, without a copy; several would not be quicker in one process.
_ENOUGH: Final = 1_000_000_000
# Nor when this process has worked for so much of the time: its processor is what is slow, and several cost it more.
_BUSY: Final = 0.6
# A source that gives so much (bytes a second) may fill the link of this node, or its processor. Then the agent
# measures, for a moment with this source alone and for longer with others, whether the others add as much as they cost:
# half as much more of the processor.
_QUICK: Final = 100_000_000
_TELLING_BYTES: Final = 16 << 20
_TRIAL_BYTES: Final = 256 << 20
_GAIN: Final = 1.2
# Between two searches for others, while there are too few.
_SEARCH_SECONDS: Final = 5.0
_FEW: Final = 2
# How often to look at what one source gives alone. If the rest of that takes so long, others are looked for, if they
# have not been, and take part. TCP sends a lost segment again after 0.2 and 0.6 s.
_LOOK_SECONDS: Final = 1.0
_LONG_SECONDS: Final = 4.0
# Then what takes the first source so long alone shows whether that brings anything.
_JOINED_SECONDS: Final = 3.0
# How long a source that is busy between two parts is asked again.
_BUSY_PAUSES: Final = (0.2, 0.5, 1.0)


class Others(Protocol):
    """Finds other sources with the same content."""

    def __call__(self) -> AsyncGenerator[Supplier, None]:
        """Yield them, the best first, the first source perhaps among them."""


class AssembledBody:
    """A span of content that several sources have whole.

    `beginning` is the part that `first` gives at first. If that is the whole span, others are asked when it takes long.
    The body breaks when no source is left. Bytes go to the receiver in order. Bytes that wait for their turn are in the
    `memory`; without room there, one source at a time gives the body.
    """

    def __init__(  # noqa: PLR0913 - its parts, all named
        self,
        first: Supplier,
        beginning: Body,
        span: Span,
        *,
        others: Others,
        memory: SlotMemory,
        rates: RecentRates,
        link: LinkRoom | None = None,
        compared: Callable[[Body], Body] = lambda body: body,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        """`rates` has what sources gave lately, `link` what comes in all bodies of this node.

        `compared` watches a body of the first source while it is alone. `worked`: for how many seconds of the processor
        this process has worked.
        """
        self._first: Supplier | None = first
        self._beginning: Body | None = beginning
        self._span = span
        self._others = others
        self._memory = memory
        self._rates = rates
        self._link = link or LinkRoom()
        self._compared = compared
        self._worked = worked
        self._found: list[Supplier] = []
        self._is_one_request = beginning.length == span.length
        self._are_needed = asyncio.Event()
        if not self._is_one_request:
            self._are_needed.set()
        self._is_searching = True
        self._is_joined = False
        self._all_before_joined = 0.0
        self._may_join_at = 0.0
        self._is_slow = False
        self._rate = 0.0
        self._measured = 0
        self._is_on_trial = True
        self._is_of_use = True
        self._together: Together | None = None

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Sink) -> None:
        begun = sink.sent
        metered = MeteredSink(sink)
        with self._link.counting(metered):
            async with alongside(self._search(), name="search further sources"):
                while (rest := self._span.after(sink.sent - begun)).length:
                    if not (self._may_share and await self._send_together(self._share_of(rest), metered)):
                        await self._send_alone(rest, metered)

    async def aclose(self) -> None:
        body, self._beginning = self._beginning, None
        if body is not None:
            await body.aclose()

    @property
    def _may_share(self) -> bool:
        if self._first is None:
            return bool(self._found)
        is_known = self._rate < _QUICK or self._measured >= _TELLING_BYTES
        return bool(self._found) and self._is_slow and is_known and self._is_of_use

    def _share_of(self, rest: Span) -> Span:
        """The bytes to get from several sources next: beside a quick source, as many as show whether others help."""
        self._is_on_trial &= self._first is not None and self._rate >= _QUICK
        if self._is_joined:
            return rest.first(max(BEGINNING_BYTES, int(self._rate * _JOINED_SECONDS)))
        return rest.first(_TRIAL_BYTES) if self._is_on_trial else rest

    async def _send_together(self, rest: Span, sink: MeteredSink) -> bool:
        """Whether there was room for that."""
        with self._memory.reserved() as slots:
            if slots is None:
                return False
            together = self._together = Together(rest, slots)
            first, before, all_before = self._first, sink.read_meter(), self._link.total
            try:
                if first is not None:
                    together.join(first, self._rate)
                for supplier in self._best():
                    self._join(together, supplier)
                await together.send_to(sink)
            finally:
                self._together = None  # nobody joins any more
                await together.aclose()
                for supplier, given, rate in together.rates():
                    if given >= BEGINNING_BYTES and rate:
                        self._rates.note(supplier.source, rate=rate)
        seconds = max(sink.read_meter().at - before.at, 1e-6)
        if self._is_joined:
            others = sum(supplier is not first and given > 0 for supplier, given, _ in together.rates())
            self._judge_joined((self._link.total - all_before) / seconds, others)
        self._judge(rest.length / seconds)
        self._forget(together.lost)
        return True

    def _judge_joined(self, rate_of_all: float, others: int) -> None:
        """While so many others gave something, so many bytes a second came in all bodies."""
        self._is_joined = False
        self._is_of_use = self._link.judge(self._all_before_joined, rate_of_all, others=others)
        if not self._is_of_use:
            self._may_join_at = asyncio.get_running_loop().time() + VAIN_SECONDS

    def _judge(self, rate: float) -> None:
        """Several have given so many bytes a second."""
        if self._is_on_trial:
            self._is_on_trial = False
            self._is_of_use = rate > self._rate * _GAIN

    def _forget(self, lost: Collection[Hashable]) -> None:
        """Ask these sources for nothing any more, until a search finds them again: they may have been away briefly."""
        self._found = [supplier for supplier in self._found if supplier.source not in lost]
        if self._first is not None and self._first.source in lost:
            self._first = None

    def _best(self) -> list[Supplier]:
        """The sources that were found, slow ones last."""
        return sorted(self._found, key=lambda supplier: self._rates.is_slow(supplier.source))

    def _join(self, together: Together, supplier: Supplier) -> None:
        together.join(supplier, self._rates.of(supplier.source))

    async def _send_alone(self, rest: Span, sink: MeteredSink) -> None:
        before, worked = sink.read_meter(), self._worked()
        self._is_joined = False
        try:
            body = self._compared(await self._open(rest))
            try:
                await send_until(self._until_joined(sink, body.length), body, sink)
            finally:
                await body.aclose()
        except SourceBroken as reason:
            if self._is_joined:
                return
            self._drop_first(reason)
            if not self._found:
                raise AllBroken("no source is left", reasons=[reason]) from reason
        finally:
            if not self._is_joined:
                self._look_at_first(before, sink.read_meter(), worked)

    def _look_at_first(self, before: Reading, now: Reading, worked: float) -> None:
        """Note what it gives. `worked`: for how many seconds of the processor the process had worked before."""
        seconds = max(now.at - before.at, 1e-6)
        self._measured = now.sent - before.sent
        self._rate = self._measured / seconds
        is_busy = self._worked() - worked > seconds * _BUSY
        self._is_slow = now.is_starved(before) and self._rate < _ENOUGH and not is_busy

    async def _until_joined(self, sink: MeteredSink, length: int) -> str:
        """Returns when others had better take part before the first source has given so many bytes."""
        now, worked, total = sink.read_meter(), self._worked(), self._link.total
        stop = now.sent + length
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            before, now = now, sink.read_meter()
            self._look_at_first(before, now, worked)
            worked = self._worked()
            rate_of_all, total = (self._link.total - total) / (now.at - before.at), self._link.total
            is_long = stop - now.sent >= self._rate * _LONG_SECONDS
            if not (self._is_slow and is_long) or now.at < self._may_join_at or self._link.is_full(rate_of_all):
                if self._is_one_request:
                    self._are_needed.clear()
                continue
            self._are_needed.set()
            self._is_of_use = True
            if self._may_share and self._memory.is_enough:
                self._is_joined, self._all_before_joined = True, rate_of_all
                return "others can give it sooner together with it"

    async def _open(self, rest: Span) -> Body:
        body, self._beginning = self._beginning, None
        if body is not None:
            return body
        if self._first is None and self._found:
            self._first = self._found.pop(0)
        if self._first is None:
            raise SourceBroken("no source is left")
        part = rest.first(self._size_alone())
        for pause in _BUSY_PAUSES:
            try:
                return await self._first.open(part)
            except SourceBusy:
                await asyncio.sleep(pause)
        return await self._first.open(part)

    def _size_alone(self) -> int:
        if self._measured < _TELLING_BYTES and self._rate >= _QUICK:
            return _TELLING_BYTES
        if self._is_searching or self._measured <= BEGINNING_BYTES:
            return _SOON_BYTES
        return max(_ALONE_BYTES, int(self._rate * _ALONE_SECONDS))

    def _drop_first(self, reason: SourceBroken) -> None:
        if self._first is not None:
            self._first.failed(reason)
        self._first = None

    async def _search(self) -> None:
        while True:
            await self._are_needed.wait()
            if self._together is not None:
                self._forget(self._together.lost)
            async with aclosing(self._others()) as others:
                async for supplier in others:
                    self._add(supplier)
            self._is_searching = False
            await self._wait_few()

    async def _wait_few(self) -> None:
        while True:
            await asyncio.sleep(_SEARCH_SECONDS)
            if self._together is None or self._together.count < _FEW:
                return

    def _add(self, supplier: Supplier) -> None:
        known = [self._first, *self._found]
        if all(other is None or other.source != supplier.source for other in known) and len(known) <= 2 * MOST_AT_ONCE:
            self._found.append(supplier)
            if self._together is not None:
                self._join(self._together, supplier)
