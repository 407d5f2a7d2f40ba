"""A source that is alive but much slower than others is left, if there is anybody to turn to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.comparison import ComparisonCheck
from registryd.transfer.monitoring.rates import RecentRates
from tests.fakes.sinks import FakeSink, StuckSink

if TYPE_CHECKING:
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

MIB = 1 << 20


class SteadyBody:
    """Gives `mebibytes`, at a rate, and then nothing more if it `hangs`."""

    def __init__(self, mebibytes: int, *, mebibytes_per_second: float, hangs: bool = False) -> None:
        self._mebibytes = mebibytes
        self._pause = 1 / 4 / mebibytes_per_second
        self._hangs = hangs
        self.is_closed = False

    @property
    def length(self) -> int:
        return self._mebibytes * MIB

    async def send_to(self, sink: Sink) -> None:
        for _ in range(self._mebibytes * 4):
            await asyncio.sleep(self._pause)
            await sink.write(bytes(MIB // 4))
        if self._hangs:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Others:
    """Whether somebody else has it, and how often that was asked."""

    have_it: bool = True
    asked: int = 0

    async def has_other(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0.01)
        return self.have_it


@pytest.fixture
def others() -> Others:
    return Others()


def rates(**known: float) -> RecentRates:
    recent = RecentRates()
    for source, mebibytes_per_second in known.items():
        recent.note(source, rate=mebibytes_per_second * MIB)
    return recent


def compared(body: SteadyBody, recent: RecentRates, others: Others) -> MonitoredBody:
    return MonitoredBody(body, ComparisonCheck("this", recent, others.has_other))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_source_that_is_as_quick_as_others_is_kept(others: Others) -> None:
    sink = FakeSink()
    await compared(SteadyBody(20, mebibytes_per_second=4), rates(a=20, b=30), others).send_to(sink)
    assert (sink.sent, others.asked, now()) == (20 * MIB, 0, 5.0)


async def test_a_source_that_is_much_slower_is_left_after_a_second(others: Others) -> None:
    sink = FakeSink()
    with pytest.raises(SourceBroken, match="quicker"):
        await compared(SteadyBody(20, mebibytes_per_second=1), rates(a=20, b=30), others).send_to(sink)
    assert now() == pytest.approx(1.01)
    assert sink.sent == MIB


async def test_where_nothing_is_known_of_others_no_pace_is_too_slow(others: Others) -> None:
    await compared(SteadyBody(5, mebibytes_per_second=0.5), rates(this=100), others).send_to(FakeSink())
    assert others.asked == 0


async def test_one_quick_source_among_slow_ones_is_no_measure(others: Others) -> None:
    await compared(SteadyBody(5, mebibytes_per_second=1), rates(a=2, b=2, c=500), others).send_to(FakeSink())
    assert others.asked == 0


async def test_without_anybody_else_it_is_kept_and_looked_for_again(others: Others) -> None:
    others.have_it = False
    sink = FakeSink()
    await compared(SteadyBody(5, mebibytes_per_second=1), rates(a=20), others).send_to(sink)
    assert sink.sent == 5 * MIB
    assert others.asked == 4


async def test_silence_is_too_slow_whatever_others_gave(others: Others) -> None:
    sink = FakeSink()
    with pytest.raises(SourceBroken):
        await compared(SteadyBody(3, mebibytes_per_second=2, hangs=True), rates(), others).send_to(sink)
    assert sink.sent == 3 * MIB
    assert now() == pytest.approx(3.02, abs=0.02)


async def test_a_receiver_that_takes_nothing_is_not_put_down_to_the_source(others: Others) -> None:
    body = compared(SteadyBody(1, mebibytes_per_second=1), rates(a=20), others)
    sending = asyncio.create_task(body.send_to(StuckSink()))
    await asyncio.sleep(30)
    assert not sending.done()
    assert others.asked == 0
    sending.cancel()
    await asyncio.wait([sending])


async def test_what_a_source_gave_is_the_measure_for_others(others: Others) -> None:
    recent = RecentRates()
    quick = ComparisonCheck("quick", recent, others.has_other)
    await MonitoredBody(SteadyBody(8, mebibytes_per_second=16), quick).send_to(FakeSink())
    assert recent.typical_of_others("this") == pytest.approx(16 * MIB)
    assert recent.typical_of_others("quick") == 0


async def test_old_rates_are_forgotten() -> None:
    recent = rates(a=20)
    await asyncio.sleep(299)
    assert recent.typical_of_others("this") == 20 * MIB
    await asyncio.sleep(2)
    assert recent.typical_of_others("this") == 0


async def test_only_the_latest_sources_are_remembered() -> None:
    recent = rates(**{f"source{number}": 1.0 for number in range(100)})
    for number in range(100):
        recent.note(f"later{number}", rate=5 * MIB)
    assert recent.typical_of_others("this") == 5 * MIB


async def test_cancelling_ends_the_watch_too(others: Others) -> None:
    body = SteadyBody(20, mebibytes_per_second=1)
    sending = asyncio.create_task(compared(body, rates(), others).send_to(FakeSink()))
    await asyncio.sleep(0.5)
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
