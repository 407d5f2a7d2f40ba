"""A source that takes long is doubted now and then, and left when it turns out to be the one that is slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.doubt import DoubtCheck
from tests.fakes.sinks import FakeSink, StuckSink

if TYPE_CHECKING:
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

MIB = 1 << 20


class SteadyBody:
    """Gives `mebibytes`, a 16th of one at a time, one of them a second."""

    def __init__(self, mebibytes: int) -> None:
        self._mebibytes = mebibytes
        self.is_closed = False

    @property
    def length(self) -> int:
        return self._mebibytes * MIB

    async def send_to(self, sink: Sink) -> None:
        for _ in range(self._mebibytes * 16):
            await asyncio.sleep(1 / 16)
            await sink.write(bytes(MIB // 16))

    async def aclose(self) -> None:
        self.is_closed = True


class Judge:
    """Says that the source is slow from a moment on; keeps when it was asked, and what it was told."""

    def __init__(self, *, slow_from: float = float("inf")) -> None:
        self._slow_from = slow_from
        self.asked: list[float] = []
        self.told: list[tuple[int, float]] = []

    async def is_slow(self, arrived: int, rate: float) -> bool:
        self.asked.append(now())
        self.told.append((arrived, rate))
        return now() >= self._slow_from


def doubted(body: SteadyBody, judge: Judge, *, start: int = 0) -> MonitoredBody:
    return MonitoredBody(body, DoubtCheck(start, judge.is_slow))


async def test_the_first_look_may_be_early_and_ask_something_else() -> None:
    judge, early = Judge(), Judge()
    doubt = DoubtCheck(0, judge.is_slow, first=0.2, is_slow_early=early.is_slow)
    await MonitoredBody(SteadyBody(15), doubt).send_to(FakeSink())
    assert early.asked == pytest.approx([0.2])
    assert judge.asked[:3] == pytest.approx([0.4, 0.6, 1.1])


async def test_a_source_that_has_got_quicker_since_the_last_look_is_kept() -> None:
    class Quickening(SteadyBody):
        async def send_to(self, sink: Sink) -> None:
            await asyncio.sleep(0.75)
            await super().send_to(sink)

    judge = Judge()
    await doubted(Quickening(8), judge).send_to(FakeSink())
    assert judge.asked == pytest.approx([0.5, 1.0])  # then a MiB a second comes: eight are there within ten seconds


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_of_a_source_that_is_done_within_seconds_nobody_is_asked() -> None:
    judge, sink = Judge(), FakeSink()
    await doubted(SteadyBody(8), judge).send_to(sink)
    assert (sink.sent, judge.asked) == (8 * MIB, [])


async def test_what_has_arrived_and_how_quickly_is_told() -> None:
    judge = Judge()
    await doubted(SteadyBody(15), judge, start=7 * MIB).send_to(FakeSink())
    arrived, rate = judge.told[0]
    assert arrived == pytest.approx(7.5 * MIB, abs=MIB / 16)
    assert rate == pytest.approx(MIB, rel=0.2)


async def test_a_source_that_is_slow_is_left() -> None:
    judge, sink, body = Judge(slow_from=2), FakeSink(), SteadyBody(30)
    with pytest.raises(SourceBroken, match="slower than others"):
        await doubted(body, judge).send_to(sink)
    assert now() == pytest.approx(2)
    assert sink.sent == pytest.approx(2 * MIB, abs=MIB / 16)


async def test_a_source_that_is_not_to_blame_is_kept_and_asked_about_ever_more_rarely() -> None:
    judge, sink = Judge(), FakeSink()
    await doubted(SteadyBody(600), judge).send_to(sink)
    assert sink.sent == 600 * MIB
    assert judge.asked[:8] == pytest.approx([0.5 * count for count in range(1, 9)])
    pauses = [later - sooner for sooner, later in zip(judge.asked, judge.asked[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30
    assert len(judge.asked) < 60


async def test_when_little_is_left_nobody_is_asked_any_more() -> None:
    judge = Judge()
    await doubted(SteadyBody(30), judge).send_to(FakeSink())
    assert 15 < judge.asked[-1] < 21


async def test_a_receiver_that_takes_nothing_is_not_put_down_to_the_source() -> None:
    judge = Judge(slow_from=0)
    sending = asyncio.create_task(doubted(SteadyBody(100), judge).send_to(StuckSink()))
    await asyncio.sleep(30)
    assert not sending.done()
    assert judge.asked == []
    sending.cancel()
    await asyncio.wait([sending])


async def test_what_goes_wrong_while_it_is_asked_is_not_hidden(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_arrived: int, _rate: float) -> bool:
        raise ValueError("a mistake")

    await MonitoredBody(SteadyBody(30), DoubtCheck(0, fail)).send_to(sink := FakeSink())
    assert sink.sent == 30 * MIB
    assert [record.message.rpartition(": ")[-1] for record in caplog.records] == ["a mistake"]


async def test_closing_it_closes_the_body() -> None:
    body = SteadyBody(3)
    doubting = doubted(body, Judge())
    assert doubting.length == 3 * MIB
    await doubting.aclose()
    assert body.is_closed
