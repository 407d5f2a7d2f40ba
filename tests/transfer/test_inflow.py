"""What flows in can be had before the file has it, is kept until containerd takes it, and within bounds."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.file_events import FileEvents
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.growing import GrowingBody, watching_arrival
from registryd.transfer.inflow import KEPT_BYTES, STEP_BYTES, InflowMemory, Inflows, InflowSink
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.transfer.inflow import Inflow

MIB = 1024 * 1024
STEP = STEP_BYTES
DATA = os.urandom(4 * MIB + 5)
DIGEST = Digest.of(DATA)
WHOLE = Span.whole(len(DATA))


class Follower:
    """Gets the content from this node while it arrives."""

    def __init__(self, sink: FakeSink, sending: asyncio.Task[None]) -> None:
        self.sink = sink
        self.sending = sending

    async def has(self, count: int) -> bool:
        await has_come(self.sink, count)
        return self.sink.data == DATA[:count]


def take_all(inflow: Inflow) -> None:
    """All of it, in the pieces in which it comes from a peer."""
    for start in range(0, len(DATA), STEP):
        inflow.take(DATA[start : start + STEP])


async def has_come(sink: FakeSink, count: int) -> None:
    async with asyncio.timeout(30):
        while sink.sent < count:  # noqa: ASYNC110 - a sink has no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def following(path: Path, inflows: Inflows) -> AsyncIterator[Follower]:
    watching = partial(watching_arrival, digest=DIGEST, events=FileEvents(), inflows=inflows)
    async with aclosing(GrowingBody(os.open(path, os.O_RDONLY), WHOLE, watching)) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        yield Follower(sink, sending)
        await sending


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.touch()
    return path


# For followers


async def test_a_follower_need_not_wait_for_the_file(path: Path) -> None:
    inflows = Inflows()
    async with following(path, inflows) as follower:
        with inflows.flowing(DIGEST, WHOLE) as inflow:
            inflow.take(DATA[:STEP])
            assert await follower.has(STEP)
            inflow.take(DATA[STEP : 3 * STEP])
            assert await follower.has(3 * STEP)
            assert path.stat().st_size == 0
        path.write_bytes(DATA)
        await follower.sending
        assert follower.sink.data == DATA


async def test_it_goes_on_with_the_file_where_that_has_more(path: Path) -> None:
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE) as inflow:
        inflow.take(DATA[:MIB])
        async with following(path, inflows) as follower:
            assert await follower.has(MIB)
            path.write_bytes(DATA[: 2 * MIB])
            assert await follower.has(2 * MIB)
            inflow.take(DATA[MIB : 3 * MIB])
            assert await follower.has(3 * MIB)
            inflow.take(DATA[3 * MIB :])
            await follower.sending
    assert follower.sink.data == DATA


async def test_what_was_read_too_long_ago_comes_from_the_file(path: Path) -> None:
    inflows = Inflows()
    async with following(path, inflows) as follower:
        with inflows.flowing(DIGEST, WHOLE) as inflow:
            for start in range(0, len(DATA), STEP):
                inflow.take(DATA[start : start + STEP])
            assert inflow.reach(0) == len(DATA)
            await inflow.send(WHOLE, FakeSink())
            assert inflow.start > len(DATA) - KEPT_BYTES - STEP
            assert inflow.reach(inflow.start - 1) == inflow.start - 1
            assert inflow.reach(inflow.start) == len(DATA)
            path.write_bytes(DATA[: 3 * MIB])
            await follower.sending
    assert follower.sink.data == DATA


async def test_followers_are_told_of_so_many_at_a_time_and_of_the_last() -> None:
    with Inflows().flowing(DIGEST, Span(0, STEP + 2)) as inflow:
        inflow.take(b"x" * (STEP - 1))
        assert (inflow.reach(0), bytes(inflow.after(0))) == (0, b"")
        inflow.take(b"yz")
        assert (inflow.reach(0), bytes(inflow.after(STEP - 1))) == (STEP + 1, b"yz")
        inflow.take(b"!")
        assert (inflow.reach(0), bytes(inflow.after(STEP + 1))) == (STEP + 2, b"!")


async def test_of_two_the_latest_is_seen_and_none_when_they_have_ended() -> None:
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE):
        with inflows.flowing(DIGEST, Span(7, 9)) as later:
            assert inflows.of(DIGEST) is later
            assert set(inflows.contents()) == {DIGEST}
        assert inflows.of(DIGEST) is None
    assert inflows.of(DIGEST) is None


# For containerd


async def test_a_reader_gets_what_has_come_and_what_comes() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        await inflow.put(DATA[:MIB])
        reading = asyncio.create_task(inflow.send(Span(7, len(DATA)), sink := FakeSink()))
        await has_come(sink, MIB - 7)
        await inflow.put(DATA[MIB:])
        await reading
        assert sink.data == DATA[7:]
        assert inflow.is_whole
        assert inflow.is_used_up


async def test_a_reader_may_come_again_where_it_stopped() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        await inflow.put(DATA[: 2 * MIB])
        with pytest.raises(SinkClosed):
            await inflow.send(WHOLE, Closing(after=MIB))
        assert inflow.can_give(MIB)
        await inflow.put(DATA[2 * MIB :])
        await inflow.send(Span(MIB, len(DATA)), sink := FakeSink())
        assert sink.data == DATA[MIB:]


async def test_a_reader_comes_to_the_end_of_what_has_come_before_it_hears_of_a_failure() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        await inflow.put(DATA[:MIB])
        inflow.fail(SourceBroken("the peer is gone"))
        assert inflow.can_give(0)
        assert not inflow.can_give(MIB)
        with pytest.raises(SourceBroken, match="the peer is gone"):
            await inflow.send(WHOLE, sink := FakeSink())
        assert sink.data == DATA[:MIB]
        assert inflow.is_used_up


async def test_a_reader_that_waits_in_vain_may_be_sent_away_once_it_has_got_something() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        waiting = asyncio.create_task(inflow.send(WHOLE, sink := FakeSink(), is_to_go_on=lambda: False))
        await asyncio.sleep(0.3)
        assert not waiting.done()  # an end without a byte is counted by containerd
        await inflow.put(DATA[:STEP])
        with pytest.raises(SourceBroken, match="more to take elsewhere"):
            await waiting
        assert sink.data == DATA[:STEP]


class Closing(FakeSink):
    """A receiver that closes after so many bytes."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self._after = after

    async def write(self, data: bytes | memoryview) -> None:
        await super().write(data[: self._after - self.sent])
        if self.sent == self._after:
            raise SinkClosed("gone")


# Bounds


async def blocks(inflow: Inflow, data: bytes) -> asyncio.Task[None]:
    """A task that puts the data, and is known to wait for room."""
    putting = asyncio.create_task(inflow.put(data))
    await asyncio.sleep(0.01)
    assert not putting.done()
    return putting


async def test_nothing_more_is_taken_when_memory_is_full_until_some_is_given_back() -> None:
    inflows = Inflows(memory := InflowMemory(MIB))
    with inflows.flowing(DIGEST, WHOLE) as first:
        await first.put(DATA[: MIB - 1])
        with inflows.flowing(Digest.of(b"other"), WHOLE) as other:
            putting = await blocks(other, DATA[:STEP])
            assert memory.held == MIB - 1 + STEP
            first.close()
            await putting
            assert memory.held == STEP
    assert memory.held == 0


async def test_what_is_being_read_goes_on_though_memory_is_full() -> None:
    inflows = Inflows(InflowMemory(0))
    with inflows.flowing(DIGEST, WHOLE) as inflow:
        reading = asyncio.create_task(inflow.send(WHOLE, sink := FakeSink()))
        await asyncio.sleep(0)
        for start in range(0, len(DATA), STEP):
            await inflow.put(DATA[start : start + STEP])
        await reading
        assert sink.data == DATA
        assert inflows.memory.held <= KEPT_BYTES + STEP


async def test_one_inflow_leaves_room_for_others() -> None:
    memory = InflowMemory(1 << 40)
    with Inflows(memory).flowing(DIGEST, Span.whole(1 << 30)) as inflow:
        for _ in range(31):
            await inflow.put(DATA[:MIB])
        putting = await blocks(inflow, DATA[:MIB])
        reading = asyncio.create_task(inflow.send(Span(0, 4 * MIB), FakeSink()))
        await putting
        await reading


async def test_what_a_source_gave_before_it_was_left_counts_once() -> None:
    with Inflows(InflowMemory(STEP)).flowing(DIGEST, WHOLE) as inflow:
        sink = InflowSink(inflow)
        writing = asyncio.create_task(sink.write(DATA[:MIB]))
        await asyncio.sleep(0.01)
        writing.cancel()
        await asyncio.wait([writing])
        assert sink.sent == inflow.end == MIB
        reading = asyncio.create_task(inflow.send(WHOLE, received := FakeSink()))
        await sink.write(DATA[MIB:])
        await reading
        assert received.data == DATA


# Ends, and more readers than one


async def test_a_reader_that_waits_hears_that_it_is_not_taken_in_any_more() -> None:
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE) as inflow:
        await inflow.put(DATA[:STEP])
        reading = asyncio.create_task(inflow.send(WHOLE, sink := FakeSink()))
        await has_come(sink, STEP)
    with pytest.raises(SourceBroken, match="not taken in any more"):
        await reading
    assert sink.data == DATA[:STEP]
    assert inflows.memory.held == 0


async def test_who_waits_for_the_first_byte_hears_of_the_end_too() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        waiting = asyncio.create_task(inflow.wait_beyond(0))
        await asyncio.sleep(0)
    with pytest.raises(SourceBroken, match="not taken in any more"):
        await waiting
    assert not inflow.can_give(0)


async def test_why_a_source_failed_is_what_readers_hear_though_it_ends_then() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        inflow.fail(SourceBroken("the peer is gone"))
    with pytest.raises(SourceBroken, match="the peer is gone"):
        await inflow.send(WHOLE, FakeSink())


async def test_what_comes_last_is_given_though_it_ends_at_once() -> None:
    """The chunk that is being written outlives what it came from."""
    with Inflows().flowing(DIGEST, Span(0, STEP)) as inflow:
        await inflow.put(DATA[:STEP])
        reading = asyncio.create_task(inflow.send(Span(0, STEP), sink := FakeSink()))
        await asyncio.sleep(0)
    await reading
    assert sink.data == DATA[:STEP]


async def test_the_quicker_of_two_readers_is_not_held_up_and_the_other_gets_nothing_wrong() -> None:
    memory = InflowMemory(0)
    with Inflows(memory).flowing(DIGEST, WHOLE) as inflow:
        slow = asyncio.create_task(inflow.send(WHOLE, slow_sink := Pausing()))
        quick = asyncio.create_task(inflow.send(WHOLE, quick_sink := FakeSink()))
        for start in range(0, len(DATA), STEP):
            await inflow.put(DATA[start : start + STEP])
        await quick
        assert quick_sink.data == DATA
        was_read = inflow.is_being_read
        slow_sink.go_on.set()
        with pytest.raises(SourceBroken, match="another request has taken"):
            await slow
        assert slow_sink.data == DATA[: slow_sink.sent]
        assert (was_read, inflow.is_being_read) == (True, False)
    assert memory.held == 0


async def test_it_is_not_used_up_while_one_of_two_still_reads() -> None:
    with Inflows().flowing(DIGEST, Span(0, 2 * STEP)) as inflow:
        await inflow.put(DATA[: 2 * STEP])
        slow = asyncio.create_task(inflow.send(Span(0, 2 * STEP), slow_sink := Pausing()))
        await asyncio.sleep(0)
        await inflow.send(Span(0, 2 * STEP), FakeSink())
        was_used_up = inflow.is_used_up
        slow_sink.go_on.set()
        await slow
        assert (was_used_up, inflow.is_used_up) == (False, True)
        assert slow_sink.data == DATA[: 2 * STEP]


async def test_a_reader_that_goes_back_gets_what_is_still_kept_and_only_that() -> None:
    with Inflows().flowing(DIGEST, WHOLE) as inflow:
        take_all(inflow)
        with pytest.raises(SinkClosed):
            await inflow.send(WHOLE, Closing(after=4 * MIB))
        assert not inflow.can_give(0)
        with pytest.raises(SourceBroken, match="another request has taken"):
            await inflow.send(WHOLE, lost := FakeSink())
        assert not lost.sent
        again = inflow.start
        await inflow.send(Span(again, len(DATA)), sink := FakeSink())
        assert sink.data == DATA[again:]


async def test_cancelling_a_reader_leaves_nobody_reading() -> None:
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE) as inflow:
        reading = asyncio.create_task(inflow.send(WHOLE, FakeSink()))
        await asyncio.sleep(0)
        was_read = inflow.is_being_read
        reading.cancel()
        await asyncio.wait([reading])
        assert (was_read, inflow.is_being_read) == (True, False)
        await inflow.wait_left()


async def test_a_reader_that_comes_makes_room_though_memory_is_full() -> None:
    memory = InflowMemory(STEP)
    with Inflows(memory).flowing(DIGEST, WHOLE) as inflow:
        putting = await blocks(inflow, DATA[: 2 * STEP])
        reading = asyncio.create_task(inflow.send(WHOLE, sink := FakeSink()))
        await putting
        await inflow.put(DATA[2 * STEP :])
        await reading
        assert sink.data == DATA
        assert memory.given == len(DATA)
    assert memory.held == 0


async def test_a_follower_is_given_nothing_of_what_was_dropped_before_the_file_has_it(path: Path) -> None:
    """The file of a client that reads slowly is far behind what was sent to it."""
    inflows = Inflows()
    with inflows.flowing(DIGEST, WHOLE) as inflow:
        take_all(inflow)
        await inflow.send(WHOLE, FakeSink())
        assert inflow.start > 2 * MIB
        async with following(path, inflows) as follower:
            path.write_bytes(DATA[:MIB])
            assert await follower.has(MIB)
            await asyncio.sleep(0.05)
            assert follower.sink.sent == MIB
            path.write_bytes(DATA)
            await follower.sending
    assert follower.sink.data == DATA


@pytest.mark.parametrize("size", [1, STEP - 1, STEP, STEP + 1, KEPT_BYTES, KEPT_BYTES + 1])
async def test_whatever_its_size_it_is_given_whole_and_all_memory_comes_back(size: int) -> None:
    inflows = Inflows(memory := InflowMemory(1))
    with inflows.flowing(DIGEST, Span(0, size)) as inflow:
        reading = asyncio.create_task(inflow.send(Span(0, size), sink := FakeSink()))
        for start in range(0, size, 100_000):
            await inflow.put(DATA[start : min(size, start + 100_000)])
        await reading
        assert inflow.is_used_up
    assert sink.data == DATA[:size]
    assert (memory.held, memory.total, memory.given) == (0, size, size)


class Pausing(FakeSink):
    """A receiver that takes nothing after its first bytes until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def write(self, data: bytes | memoryview) -> None:
        await super().write(data)
        await self.go_on.wait()
