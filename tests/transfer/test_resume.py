from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken, SourcesExhausted
from registryd.transfer.memory import MemorySink
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import FloorCheck, FloorRate
from registryd.transfer.resume import ResumingBody
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.transfer.body import Body
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

DATA = bytes(range(100))
WHOLE = Span.whole(100)
FLOOR = FloorRate(bytes_per_second=10, window_seconds=5)


class FakeBody:
    """Gives `stops_after` bytes of its span, one every `seconds_per_byte`; then breaks, or hangs. Counts closings."""

    def __init__(
        self, span: Span, *, stops_after: int | None = None, hangs: bool = False, seconds_per_byte: float = 0
    ) -> None:
        self._data = DATA[span.start : span.stop]
        self._stops_after = stops_after
        self._hangs = hangs
        self._seconds_per_byte = seconds_per_byte
        self.closed = 0

    @property
    def length(self) -> int:
        return len(self._data)

    async def send_to(self, sink: Sink) -> None:
        for byte in self._data[: self._stops_after]:
            await asyncio.sleep(self._seconds_per_byte)
            await sink.write(bytes([byte]))
        if self._hangs:
            await asyncio.Event().wait()
        if self._stops_after is not None:
            raise SourceBroken(f"broke after {self._stops_after}")

    async def aclose(self) -> None:
        self.closed += 1


@dataclass
class Sources:
    """What `reopen` gives, in order; remembers what it was asked for."""

    ways: list[Callable[[Span], FakeBody]]
    asked: list[Span] = field(default_factory=list)
    given: list[FakeBody] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    floor: FloorRate | None = FLOOR

    async def reopen(self, rest: Span, reason: SourceBroken) -> Body:
        self.asked.append(rest)
        self.reasons.append(str(reason))
        if not self.ways:
            raise SourcesExhausted("nobody has it")
        return self.give(rest)

    def body(self, *, max_sources: int = 5) -> ResumingBody:
        return ResumingBody(self.give(WHOLE), WHOLE, self.reopen, max_sources=max_sources)

    def give(self, span: Span) -> Body:
        self.given.append(body := self.ways.pop(0)(span))
        return MonitoredBody(body, FloorCheck(self.floor)) if self.floor else body


def good(span: Span) -> FakeBody:
    return FakeBody(span)


def breaks_after(count: int) -> Callable[[Span], FakeBody]:
    return lambda span: FakeBody(span, stops_after=count)


def trickles(seconds_per_byte: float) -> Callable[[Span], FakeBody]:
    return lambda span: FakeBody(span, seconds_per_byte=seconds_per_byte)


def unreachable(span: Span) -> FakeBody:
    raise SourceBroken("refused")


def now() -> float:
    return asyncio.get_running_loop().time()


# ---------------------------------------------------------------- going on


async def test_goes_on_at_the_byte_where_a_source_broke() -> None:
    sources = Sources([breaks_after(30), breaks_after(0), breaks_after(50), good])
    sink = MemorySink()
    await (body := sources.body()).send_to(sink)
    await body.aclose()
    assert sink.data == DATA
    assert sources.asked == [Span(30, 100), Span(30, 100), Span(80, 100)]
    assert sources.reasons == ["broke after 30", "broke after 0", "broke after 50"]
    assert [given.closed for given in sources.given] == [1, 1, 1, 1]


async def test_counts_only_what_it_sent_itself() -> None:
    sink = MemorySink()
    await sink.write(b"before")
    sources = Sources([breaks_after(30), good])
    await sources.body().send_to(sink)
    assert sources.asked == [Span(30, 100)]
    assert sink.data == b"before" + DATA


async def test_keeps_its_place_within_a_span() -> None:
    sources = Sources([good])
    body = ResumingBody(FakeBody(Span(10, 60), stops_after=20), Span(10, 60), sources.reopen)
    await body.send_to(sink := MemorySink())
    assert sources.asked == [Span(30, 60)]
    assert sink.data == DATA[10:60]


# ---------------------------------------------------------------- giving up


async def test_gives_up_with_every_reason_when_nobody_is_left() -> None:
    sources = Sources([breaks_after(30), unreachable])
    with pytest.raises(SourcesExhausted) as caught:
        await sources.body().send_to(sink := MemorySink())
    assert str(caught.value) == "no source could go on at byte 30; broke after 30; refused; nobody has it"
    assert [str(reason) for reason in caught.value.reasons] == ["broke after 30", "refused", "nobody has it"]
    assert sink.data == DATA[:30]
    assert [given.closed for given in sources.given] == [1]


async def test_gives_up_after_so_many_sources() -> None:
    sources = Sources([breaks_after(1)] * 10)
    with pytest.raises(SourcesExhausted):
        await sources.body(max_sources=3).send_to(MemorySink())
    assert len(sources.given) == 3


async def test_a_source_that_gives_another_length_is_broken() -> None:
    sources = Sources([breaks_after(30), lambda _: FakeBody(WHOLE), good])
    await sources.body().send_to(sink := MemorySink())
    assert sink.data == DATA
    assert [given.closed for given in sources.given[:2]] == [1, 1]


def test_the_first_body_has_to_be_the_span() -> None:
    with pytest.raises(ValueError, match="is not Span"):
        ResumingBody(FakeBody(Span(0, 10)), WHOLE, Sources([]).reopen)


async def test_a_receiver_that_goes_away_is_nobodys_fault() -> None:
    sources = Sources([good, good])
    body = sources.body()
    with pytest.raises(SinkClosed):
        await body.send_to(FakeSink(closes_after=10))
    await body.aclose()
    assert sources.asked == []
    assert sources.given[0].closed == 1


# ---------------------------------------------------------------- slow sources


async def test_a_source_below_the_floor_is_left_after_one_window() -> None:
    sources = Sources([trickles(0.21), good])
    await sources.body().send_to(sink := MemorySink())
    assert sink.data == DATA
    assert sources.asked == [Span(23, 100)]
    assert now() == 5.0
    assert sources.given[0].closed == 1


async def test_a_source_that_hangs_is_left_after_one_window() -> None:
    sources = Sources([lambda span: FakeBody(span, stops_after=40, hangs=True), good])
    with pytest.raises(SourcesExhausted, match="slower than 10 bytes/s for 5 s"):
        await sources.body(max_sources=1).send_to(MemorySink())
    assert now() == 5.0


async def test_a_source_that_becomes_slow_is_left() -> None:
    def slackens(span: Span) -> FakeBody:
        return FakeBody(span, stops_after=99, hangs=True, seconds_per_byte=0.07)

    sources = Sources([slackens, good])
    await sources.body().send_to(MemorySink())
    assert now() == 10.0  # 70 bytes in the first window, 29 in the second


async def test_a_source_above_the_floor_is_kept() -> None:
    await Sources([trickles(0.09)]).body().send_to(sink := MemorySink())
    assert sink.data == DATA
    assert now() == pytest.approx(9.0)


async def test_without_a_floor_any_pace_will_do() -> None:
    await Sources([trickles(60)], floor=None).body().send_to(sink := MemorySink())
    assert sink.data == DATA


class SlowSink(MemorySink):
    """Takes two seconds for each write."""

    async def write(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(2)
        await super().write(data)


async def test_a_slow_receiver_is_not_the_sources_fault() -> None:
    await Sources([good]).body().send_to(sink := SlowSink())
    assert sink.data == DATA
    assert now() == 200.0


async def test_a_source_is_judged_by_the_time_that_the_receiver_waited_for_it() -> None:
    """Half a second for each byte is too slow, though most of the time passes in the receiver."""
    sources = Sources([trickles(2.0), good])
    await sources.body().send_to(SlowSink())
    assert len(sources.given) == 2
    assert sources.asked[0].start <= 3


# ---------------------------------------------------------------- cancellation


async def test_cancelling_while_sending_closes_the_source_once() -> None:
    sources = Sources([trickles(1)], floor=None)
    body = sources.body()
    sending = asyncio.create_task(body.send_to(sink := MemorySink()))
    await asyncio.sleep(10.5)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await body.aclose()
    await body.aclose()
    assert sink.sent == 10
    assert sources.given[0].closed == 1


async def test_cancelling_while_reopening_leaves_nothing_open() -> None:
    first = FakeBody(WHOLE, stops_after=5)
    reopening = asyncio.Event()

    async def reopen(rest: Span, _: SourceBroken) -> FakeBody:
        reopening.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    body = ResumingBody(first, WHOLE, reopen)
    sending = asyncio.create_task(body.send_to(MemorySink()))
    await reopening.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await body.aclose()
    assert first.closed == 1
