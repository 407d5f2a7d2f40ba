"""A body begins with one source, and others take part when that one is what it waits for."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.assembled import BEGINNING_BYTES, AssembledBody
from registryd.transfer.errors import SourceBroken
from registryd.transfer.link_room import LinkRoom
from registryd.transfer.monitoring.rates import RecentRates
from registryd.transfer.slots import SLOT_BYTES, SlotMemory
from registryd.transfer.together import Together
from tests.fakes.sinks import FakeSink
from tests.fakes.suppliers import MIB, FakeSupplier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

pytestmark = pytest.mark.looptime

DATA = random.Random(16).randbytes(40 * MIB)
SPAN = Span(1, len(DATA))


class Cluster:
    """Those that have the content; the first of them is known, the others are found after `seconds`."""

    def __init__(self, *rates: float, seconds: float = 0.01) -> None:
        self.suppliers = [FakeSupplier(DATA, f"peer {number}", rate * MIB) for number, rate in enumerate(rates)]
        self.seconds = seconds
        self.memory = SlotMemory(128 * MIB)
        self.rates = RecentRates()
        self.tasks = 1
        self.work = 0.0  # of its time, for so many seconds
        self.work_seconds = 1000.0
        self.beginning = BEGINNING_BYTES
        self.link = LinkRoom()
        self.searches = 0

    async def others(self) -> AsyncGenerator[FakeSupplier, None]:
        self.searches += 1
        await asyncio.sleep(self.seconds)
        for supplier in self.suppliers:
            if not supplier.has_failed:
                yield supplier

    async def send(self) -> FakeSink:
        sink = FakeSink()
        async with self.opened() as body:
            assert body.length == SPAN.length
            await body.send_to(sink)
        return sink

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AssembledBody]:
        first = self.suppliers[0]
        body = AssembledBody(
            first,
            await first.open(SPAN.first(self.beginning)),
            SPAN,
            others=self.others,
            memory=self.memory,
            rates=self.rates,
            link=self.link,
            worked=lambda: min(now(), self.work_seconds) * self.work,
        )
        try:
            yield body
        finally:
            await body.aclose()
            assert not [supplier for supplier in self.suppliers if supplier.open_now]
            assert len(asyncio.all_tasks()) <= self.tasks


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_others_take_part() -> None:
    cluster = Cluster(10, 10, 10, 10)
    assert (await cluster.send()).data == DATA[1:]
    assert now() < 1.4
    assert sum(one.given for one in cluster.suppliers) == SPAN.length


async def test_a_source_that_is_quick_enough_stays_alone() -> None:
    cluster = Cluster(2000, 2000)
    assert (await cluster.send()).data == DATA[1:]
    assert not cluster.suppliers[1].asked


class SlowSink(FakeSink):
    """Takes so many bytes a second."""

    async def write(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(len(data) / (150 * MIB))
        await super().write(data)


async def test_others_that_add_nothing_are_left_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.transfer.assembled._TRIAL_BYTES", 8 * MIB)
    monkeypatch.setattr("registryd.transfer.assembled._SOON_BYTES", MIB)
    cluster = Cluster(220, 220, seconds=0.0)
    sink = SlowSink()
    async with cluster.opened() as body:
        await body.send_to(sink)
    assert sink.data == DATA[1:]
    assert sum(one.given for one in cluster.suppliers[1:]) <= 8 * MIB


async def test_others_that_add_much_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.transfer.assembled._TRIAL_BYTES", 8 * MIB)
    cluster = Cluster(200, 200, 200, seconds=0.0)
    assert (await cluster.send()).data == DATA[1:]
    assert sum(one.given for one in cluster.suppliers[1:]) > 12 * MIB


async def test_several_are_no_help_for_a_processor_that_is_slow() -> None:
    cluster = Cluster(10, 10)
    cluster.work = 0.9
    assert (await cluster.send()).data == DATA[1:]
    assert not cluster.suppliers[1].asked


async def test_a_processor_that_was_busy_for_a_moment_at_the_beginning_is_measured_again() -> None:
    cluster = Cluster(10, 10)
    cluster.work, cluster.work_seconds = 0.9, 0.1
    assert (await cluster.send()).data == DATA[1:]
    assert cluster.suppliers[1].given > 12 * MIB


async def test_who_is_found_late_takes_part_later() -> None:
    cluster = Cluster(10, 10, seconds=1)
    assert (await cluster.send()).data == DATA[1:]
    assert cluster.suppliers[1].given > 8 * MIB


async def test_nobody_else_is_looked_for_while_one_is_to_give_all_of_it() -> None:
    cluster = Cluster(10, 10)
    cluster.beginning = SPAN.length
    assert (await cluster.send()).data == DATA[1:]
    assert not cluster.searches


@pytest.mark.parametrize("beginning", [SPAN.length, 8 * MIB])
async def test_others_take_part_when_that_would_take_long(beginning: int) -> None:
    cluster = Cluster(0.3, 100, 100)
    cluster.beginning = beginning
    assert (await cluster.send()).data == DATA[1:]
    assert now() < 3.5
    assert not any(one.failures for one in cluster.suppliers), "it is slow, and may be all that there is"


async def test_others_take_part_when_the_first_ceases_to_give() -> None:
    cluster = Cluster(10, 10)
    cluster.beginning = SPAN.length
    cluster.suppliers[0].stalls_after = 20 * MIB
    assert (await cluster.send()).data == DATA[1:]
    assert now() < 6.5


async def test_another_that_brings_next_to_nothing_is_left_again_and_tried_seldom() -> None:
    cluster = Cluster(1, 0.1)
    cluster.beginning = SPAN.length
    assert (await cluster.send()).data == DATA[1:]
    assert 0 < cluster.suppliers[1].given <= 4 * MIB
    assert now() < 45
    assert not cluster.link.is_full(1e9), "one other says nothing of the link"
    assert cluster.searches <= 8


async def test_others_are_not_looked_for_while_the_link_is_full() -> None:
    cluster = Cluster(1, 100)
    cluster.beginning = SPAN.length
    cluster.link.judge(1.2 * MIB, 1.2 * MIB, others=2)
    assert (await cluster.send()).data == DATA[1:]
    assert 10 < now() < 14
    assert cluster.suppliers[1].given > 25 * MIB, "what is believed of the link is believed for ten seconds"


async def test_others_are_looked_for_when_it_has_room_again() -> None:
    cluster = Cluster(1, 100)
    cluster.beginning = SPAN.length
    cluster.link.judge(2 * MIB, 2 * MIB, others=2)
    assert (await cluster.send()).data == DATA[1:]
    assert now() < 4


async def test_a_slow_one_that_is_alone_gives_all_in_one_part() -> None:
    cluster = Cluster(0.5)
    cluster.beginning = SPAN.length
    assert (await cluster.send()).data == DATA[1:]
    assert len(cluster.suppliers[0].asked) == 1


async def test_alone_it_is_asked_for_much_at_a_time() -> None:
    cluster = Cluster(10)
    assert (await cluster.send()).data == DATA[1:]
    assert len(cluster.suppliers[0].asked) <= 3


@pytest.mark.parametrize("at", [0, 500_000, 9 * MIB])
async def test_the_first_dies_and_others_go_on(at: int) -> None:
    cluster = Cluster(10, 10, 10)
    await asyncio.sleep(0)
    opened = cluster.suppliers[0]
    cluster.seconds = 0
    async with cluster.opened() as body:
        opened.dies_after = at
        sink = FakeSink()
        await body.send_to(sink)
    assert sink.data == DATA[1:]
    assert opened.has_failed


async def test_the_only_one_dies() -> None:
    cluster = Cluster(10)
    cluster.suppliers[0].dies_after = 9 * MIB
    with pytest.raises(SourceBroken):
        await cluster.send()


async def test_all_die() -> None:
    cluster = Cluster(10, 10, 10)
    for supplier in cluster.suppliers:
        supplier.dies_after = 5 * MIB
    with pytest.raises(SourceBroken):
        await cluster.send()
    assert all(supplier.has_failed for supplier in cluster.suppliers)


async def test_without_memory_one_gives_it() -> None:
    cluster = Cluster(10, 10)
    cluster.memory = SlotMemory(2 * SLOT_BYTES)
    assert (await cluster.send()).data == DATA[1:]
    assert not cluster.suppliers[1].asked


async def test_memory_is_shared_and_given_back() -> None:
    cluster = Cluster(10, 10, 10)
    cluster.memory = SlotMemory(8 * SLOT_BYTES)
    cluster.tasks = 2
    sending = asyncio.create_task(cluster.send())
    await asyncio.sleep(1)
    assert not cluster.memory.is_enough
    with cluster.memory.reserved() as slots:
        assert slots is None
    assert (await sending).data == DATA[1:]
    assert cluster.memory.is_enough


async def test_what_they_gave_is_remembered() -> None:
    cluster = Cluster(10, 10, 1)
    await cluster.send()
    assert cluster.rates.is_slow("peer 2")
    assert not cluster.rates.is_slow("peer 1")


async def test_a_busy_first_is_waited_for_when_there_is_nobody_else() -> None:
    cluster = Cluster(10)
    async with cluster.opened() as body:
        cluster.suppliers[0].busy_times = 2
        sink = FakeSink()
        await body.send_to(sink)
    assert sink.data == DATA[1:]


async def test_others_are_looked_for_again_when_few_are_left() -> None:
    cluster = Cluster(1, 1)
    cluster.suppliers[1].dies_after = 3 * MIB
    cluster.suppliers.append(late := FakeSupplier(DATA, "late", 0.0, busy_times=0))
    late.failures.append("not found")  # not found yet
    late.rate = 5 * MIB

    async def come() -> None:
        await asyncio.sleep(6)
        late.failures.clear()

    coming = asyncio.create_task(come())
    sink = FakeSink()
    first = cluster.suppliers[0]
    body = AssembledBody(
        first,
        await first.open(SPAN.first(BEGINNING_BYTES)),
        SPAN,
        others=cluster.others,
        memory=cluster.memory,
        rates=cluster.rates,
        worked=lambda: 0.0,
    )
    await body.send_to(sink)
    await body.aclose()
    await coming
    assert sink.data == DATA[1:]
    assert late.given > 10 * MIB


@pytest.mark.parametrize(("broken", "seconds"), [(5, 13.0), (6, 14.5)])
async def test_those_that_are_known_take_the_places_of_those_that_break(broken: int, seconds: float) -> None:
    cluster = Cluster(*[1.0] * 9)
    for supplier in cluster.suppliers[:broken]:
        supplier.dies_after = 2 * MIB
    assert (await cluster.send()).data == DATA[1:]
    assert now() < seconds
    assert cluster.searches == 1, "they were found before"


async def test_one_that_broke_is_not_asked_again_while_others_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.transfer.assembled._TRIAL_BYTES", 8 * MIB)
    cluster = Cluster(200, 200, 200, 200, seconds=0.0)
    cluster.suppliers[1].dies_after = 1
    assert (await cluster.send()).data == DATA[1:]
    assert len(cluster.suppliers[1].failures) == 1
    assert cluster.suppliers[2].given > 7 * MIB


async def test_one_that_was_away_for_a_moment_is_asked_again_when_it_is_found_again() -> None:
    cluster = Cluster(0.5, 2)
    cluster.beginning = SPAN.length
    away = cluster.suppliers[1]
    away.dies_after = 1
    asyncio.get_running_loop().call_later(4.9, setattr, away, "dies_after", None)
    asyncio.get_running_loop().call_later(4.9, away.failures.clear)
    assert (await cluster.send()).data == DATA[1:]
    assert away.given > 10 * MIB


async def test_who_answers_while_the_body_ends_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, is_ending = Cluster(10, 10, 10), asyncio.Event()
    late = cluster.suppliers.pop()
    close = Together.aclose

    async def others() -> AsyncGenerator[FakeSupplier, None]:
        for supplier in cluster.suppliers:
            yield supplier
        await is_ending.wait()
        yield late

    async def close_slowly(together: Together) -> None:
        await close(together)
        is_ending.set()
        await asyncio.sleep(0.01)

    monkeypatch.setattr(Together, "aclose", close_slowly)
    monkeypatch.setattr(cluster, "others", others)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await cluster.send()
    assert is_ending.is_set()
    await asyncio.sleep(1)
    assert not late.asked


async def test_cancelling_leaves_nothing_behind() -> None:
    cluster = Cluster(10, 10, 10)
    for seconds in (0.0, 0.005, 0.05, 0.5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await cluster.send()
    assert cluster.memory.is_enough
