"""Several sources of one body: all bytes, in order, in little memory, hardly any twice, whatever becomes of one."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import ref

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import AllBroken, SinkClosed
from registryd.transfer.slots import SLOT_BYTES, SlotMemory, Slots
from registryd.transfer.together import MOST_AT_ONCE, Together
from tests.fakes.sinks import FakeSink
from tests.fakes.suppliers import MIB, FakeSupplier

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.looptime

DATA = random.Random(15).randbytes(64 * MIB)
SPAN = Span(3, len(DATA) - 5)
MEMORY = 32 * MIB


def suppliers(*rates: float) -> list[FakeSupplier]:
    """With so many MiB a second each."""
    return [FakeSupplier(DATA, f"peer {number}", rate * MIB) for number, rate in enumerate(rates)]


class SlowSink(FakeSink):
    """Takes so many bytes a second."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    async def write(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(len(data) / self._rate)
        await super().write(data)


async def send(sources: Iterable[FakeSupplier], *, sink: FakeSink | None = None, span: Span = SPAN) -> FakeSink:
    sink = sink or FakeSink()
    memory = SlotMemory(MEMORY)
    with memory.reserved() as slots:
        assert slots is not None
        together = Together(span, slots)
        try:
            for source in sources:
                together.join(source)
            await together.send_to(sink)
        finally:
            await together.aclose()
            assert not [source for source in sources if source.open_now]
    return sink


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_five_equal_sources_are_five_times_as_quick_as_one() -> None:
    sources = suppliers(*[8.0] * 5)
    sink = await send(sources)
    assert sink.data == DATA[3:-5]
    assert now() < 64 / 40 * 1.15
    assert sum(source.given for source in sources) == SPAN.length


async def test_one_source_gives_all_of_it() -> None:
    (source,) = suppliers(20.0)
    assert (await send([source])).data == DATA[3:-5]
    assert not source.has_failed


async def test_who_is_quicker_gives_more() -> None:
    slow, quick = suppliers(4.0, 28.0)
    assert (await send([slow, quick])).data == DATA[3:-5]
    assert 5 < quick.given / slow.given < 9
    assert now() < 2 * 1.2


async def test_one_that_hardly_gives_anything_costs_little() -> None:
    sources = suppliers(0.05, 10.0, 10.0, 10.0)
    assert (await send(sources)).data == DATA[3:-5]
    assert now() < 64 / 30 * 1.4


@pytest.mark.parametrize("at", [0, 1, 3 * MIB, 11 * MIB + 7])
async def test_one_that_dies_costs_what_it_was_asked_for(at: int) -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    sources[1].dies_after = at
    assert (await send(sources)).data == DATA[3:-5]
    assert [source.has_failed for source in sources] == [False, True, False]
    assert sum(source.given for source in sources) <= SPAN.length * 1.02


@pytest.mark.parametrize("at", [0, 3 * MIB, 11 * MIB + 7])
async def test_one_that_stalls_is_not_waited_for(at: int) -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    sources[1].stalls_after = at
    assert (await send(sources)).data == DATA[3:-5]
    assert now() < 64 / 20 + 1.5
    assert sum(source.given for source in sources) <= SPAN.length * 1.02


async def test_all_that_stall_end_it() -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    for source in sources:
        source.stalls_after = 5 * MIB
    sink = FakeSink()
    with pytest.raises(AllBroken):
        await send(sources, sink=sink)
    assert sink.data == DATA[3 : 3 + sink.sent]
    assert now() < 15
    assert all(source.has_failed for source in sources)


async def test_all_that_die_end_it_after_what_was_whole() -> None:
    sources = suppliers(10.0, 10.0)
    for source in sources:
        source.dies_after = 10 * MIB
    sink = FakeSink()
    with pytest.raises(AllBroken, match="the fake source died"):
        await send(sources, sink=sink)
    assert sink.sent > 15 * MIB
    assert sink.data == DATA[3 : 3 + sink.sent]


async def test_the_last_one_goes_on_alone() -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    sources[0].dies_after = sources[1].dies_after = 4 * MIB
    assert (await send(sources)).data == DATA[3:-5]


async def test_who_is_busy_is_asked_again_and_not_blamed() -> None:
    sources = suppliers(10.0, 10.0)
    sources[0].busy_times = 2
    assert (await send(sources)).data == DATA[3:-5]
    assert sources[0].given > 8 * MIB


async def test_who_is_always_busy_is_left_in_peace() -> None:
    sources = suppliers(10.0, 4.0)
    sources[0].busy_times = 100
    assert (await send(sources)).data == DATA[3:-5]
    assert len(sources[0].asked) < 6
    assert sources[0].failures == ["the source was busy too often"]


async def test_a_slow_receiver_holds_the_sources_back() -> None:
    sources = suppliers(100.0, 100.0)
    sink = SlowSink(16 * MIB)
    task = asyncio.create_task(send(sources, sink=sink))
    for _ in range(30):
        await asyncio.sleep(0.1)
        ahead = sum(source.given for source in sources) - sink.sent
        assert ahead <= MEMORY + SLOT_BYTES
    await task
    assert sink.data == DATA[3:-5]
    assert sum(source.given for source in sources) == SPAN.length  # nobody was left for that


async def test_a_receiver_that_goes_away_ends_everything() -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    with pytest.raises(SinkClosed):
        await send(sources, sink=FakeSink(closes_after=9 * MIB))


async def test_cancelling_leaves_nothing_behind() -> None:
    sources = suppliers(10.0, 10.0, 10.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await send(sources)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("end", ["cancelled", "some break", "all break", "one is slow"])
async def test_its_memory_needs_no_garbage_collector(end: str) -> None:
    """An agent's oldest objects are looked at rarely: until then the memory of many bodies would be held."""
    sources = suppliers(10.0, 10.0, 0.1 if end == "one is slow" else 10.0)
    for source in sources[:3] if end == "all break" else sources[:1] if end == "some break" else ():
        source.dies_after = 5 * MIB

    async def use(slots: Slots) -> None:
        together = Together(SPAN, slots)
        for source in sources:
            together.join(source)
        with suppress(TimeoutError, AllBroken):
            async with asyncio.timeout(0.7 if end == "cancelled" else None):
                await together.send_to(FakeSink())
        await together.aclose()

    gc.collect()
    gc.disable()
    try:
        slots = Slots(8)
        await use(slots)
        await asyncio.sleep(0)
        left = ref(slots)
        del slots
        assert left() is None
    finally:
        gc.enable()


async def test_who_comes_later_takes_part() -> None:
    first, second = suppliers(10.0, 10.0)
    with SlotMemory(MEMORY).reserved() as slots:
        assert slots is not None
        together, sink = Together(SPAN, slots), FakeSink()
        together.join(first)
        sending = asyncio.create_task(together.send_to(sink))
        await asyncio.sleep(1)
        together.join(second)
        together.join(second)
        assert together.count == 2
        await sending
        await together.aclose()
    assert sink.data == DATA[3:-5]
    assert now() < 1 + 54 / 20 * 1.15


async def test_not_too_many_take_part() -> None:
    with SlotMemory(MEMORY).reserved() as slots:
        assert slots is not None
        together = Together(SPAN, slots)
        for source in suppliers(*[1.0] * 10):
            together.join(source)
        assert together.count == MOST_AT_ONCE
        await together.aclose()


@pytest.mark.parametrize("broken", [1, 4, 6])
async def test_those_for_whom_there_was_no_place_take_the_places_of_those_that_break(broken: int) -> None:
    sources = suppliers(*[2.0] * 9)
    for source in sources[:broken]:
        source.dies_after = 2 * MIB
    assert (await send(sources)).data == DATA[3:-5]
    assert [source.given > 0 for source in sources] == [number < MOST_AT_ONCE + broken for number in range(9)]
    assert now() < 64 / (2 * min(MOST_AT_ONCE, 9 - broken)) * 1.2


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens(seed: int) -> None:
    """As long as one lives, all bytes come, in order, and hardly any twice."""
    chance = random.Random(seed)
    sources = [
        FakeSupplier(
            DATA,
            f"peer {number}",
            rate=chance.choice([0.3, 2, 10, 25, 100]) * MIB,
            dies_after=chance.choice([None, None, chance.randrange(16 * MIB)]),
            stalls_after=chance.choice([None, None, chance.randrange(16 * MIB)]),
            busy_times=chance.choice([0, 0, 0, 2, 100]),
        )
        for number in range(chance.randrange(5))
    ]
    steady = FakeSupplier(DATA, "the steady one", rate=chance.choice([2, 10, 25]) * MIB)
    start = chance.randrange(32 * MIB)
    span = Span(start, chance.randrange(start + 1, len(DATA)))
    sink = chance.choice([FakeSink(), SlowSink(20 * MIB)])
    sources.insert(chance.randrange(len(sources) + 1), steady)
    await send(sources, sink=sink, span=span)
    assert sink.data == DATA[span.start : span.stop]
    # A fake source counts a step of 64 KiB that is not taken: two for each time one is left.
    assert sum(source.given for source in sources) <= span.length * 1.02 + 16 * 64 * 1024
    assert not steady.has_failed
