"""What passes by can be had before the file has it, and what is missed comes from the file."""

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
from registryd.transfer.body import BytesBody
from registryd.transfer.errors import SinkClosed
from registryd.transfer.growing import GrowingBody, watching_arrival
from registryd.transfer.passing import Passages, PassingBody
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.transfer.sink import Sink

MIB = 1024 * 1024
STEP = 128 * 1024
DATA = os.urandom(4 * MIB + 5)
DIGEST = Digest.of(DATA)
WHOLE = Span.whole(len(DATA))


class Follower:
    """Gets the content from this node while it arrives."""

    def __init__(self, sink: FakeSink, sending: asyncio.Task[None]) -> None:
        self.sink = sink
        self.sending = sending

    async def has(self, count: int) -> bool:
        async with asyncio.timeout(10):
            while self.sink.sent < count:  # noqa: ASYNC110 - a sink has no event
                await asyncio.sleep(0.001)
        return self.sink.data == DATA[:count]


@asynccontextmanager
async def following(path: Path, passages: Passages) -> AsyncIterator[Follower]:
    watching = partial(watching_arrival, digest=DIGEST, events=FileEvents(), passages=passages)
    async with aclosing(GrowingBody(os.open(path, os.O_RDONLY), WHOLE, watching)) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        yield Follower(sink, sending)
        await sending


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.touch()
    return path


async def test_a_follower_need_not_wait_for_the_file(path: Path) -> None:
    passages = Passages()
    async with following(path, passages) as follower:
        with passages.passing(DIGEST, WHOLE) as passage:
            passage.put(DATA[:STEP])
            assert await follower.has(STEP)
            passage.put(DATA[STEP : 3 * STEP])
            assert await follower.has(3 * STEP)
            assert path.stat().st_size == 0
        path.write_bytes(DATA)
        await follower.sending
        assert follower.sink.data == DATA


async def test_it_goes_on_with_the_file_where_that_has_more(path: Path) -> None:
    passages = Passages()
    with passages.passing(DIGEST, WHOLE) as passage:
        passage.put(DATA[:MIB])
        async with following(path, passages) as follower:
            assert await follower.has(MIB)
            path.write_bytes(DATA[: 2 * MIB])
            assert await follower.has(2 * MIB)
            passage.put(DATA[MIB : 3 * MIB])
            assert await follower.has(3 * MIB)
            passage.put(DATA[3 * MIB :])
            await follower.sending
    assert follower.sink.data == DATA


async def test_what_was_passed_by_too_long_ago_comes_from_the_file(path: Path) -> None:
    passages = Passages()
    async with following(path, passages) as follower:
        with passages.passing(DIGEST, WHOLE) as passage:
            for start in range(0, len(DATA), STEP):
                passage.put(DATA[start : start + STEP])
            assert passage.reach(0) == 0
            assert passage.reach(3 * MIB) == len(DATA)
            path.write_bytes(DATA[: 3 * MIB])
            await follower.sending
    assert follower.sink.data == DATA


def test_followers_are_told_of_so_many_at_a_time_and_of_the_last() -> None:
    with Passages().passing(DIGEST, Span(0, STEP + 2)) as passage:
        passage.put(b"x" * (STEP - 1))
        assert (passage.reach(0), bytes(passage.after(0))) == (0, b"")
        passage.put(b"yz")
        assert (passage.reach(0), bytes(passage.after(STEP - 1))) == (STEP + 1, b"yz")
        passage.put(b"!")
        assert (passage.reach(0), bytes(passage.after(STEP + 1))) == (STEP + 2, b"!")


def test_of_two_relays_the_latest_is_seen_and_none_when_they_have_ended() -> None:
    passages = Passages()
    with passages.passing(DIGEST, WHOLE):
        with passages.passing(DIGEST, Span(7, 9)) as later:
            assert passages.of(DIGEST) is later
        assert passages.of(DIGEST) is None
    assert passages.of(DIGEST) is None


async def test_a_body_shows_what_it_sends() -> None:
    passages = Passages()
    seen: list[int] = []

    class Watching(FakeSink):
        async def write(self, data: bytes | memoryview) -> None:
            passage = passages.of(DIGEST)
            assert passage is not None
            seen.append(passage.reach(7))
            await super().write(data)

    sink = Watching()
    span = Span(7, 7 + STEP)
    async with aclosing(PassingBody(BytesBody(DATA[7 : 7 + STEP]), DIGEST, span, passages)) as body:
        await body.send_to(sink)
        assert body.length == sink.sent == STEP
    assert sink.data == DATA[7 : 7 + STEP]
    assert seen == [7 + STEP]
    assert passages.of(DIGEST) is None


async def test_a_receiver_that_is_gone_leaves_nothing_behind() -> None:
    passages = Passages()

    class Gone(FakeSink):
        async def write(self, data: bytes | memoryview) -> None:
            raise SinkClosed("gone")

    async with aclosing(PassingBody(BytesBody(DATA), DIGEST, WHOLE, passages)) as body:
        with pytest.raises(SinkClosed):
            await body.send_to(Gone())
    assert passages.of(DIGEST) is None


class InterruptedSink(FakeSink):
    """Takes only a part of its first write, which is then broken off."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = asyncio.Event()

    async def write(self, data: bytes | memoryview) -> None:
        if self.sent:
            await super().write(data)
            return
        await super().write(data[: STEP + 7])
        self.interrupted.set()
        await asyncio.Event().wait()


async def test_what_was_shown_before_a_source_was_left_is_not_shown_twice(path: Path) -> None:
    class LeftAndGoesOn:
        """A body whose first source is left in the middle of a write."""

        length = len(DATA)

        async def send_to(self, sink: Sink) -> None:
            writing = asyncio.create_task(sink.write(DATA[:MIB]))
            await receiver.interrupted.wait()
            writing.cancel()
            await asyncio.wait([writing])
            for start in range(sink.sent, len(DATA), MIB):
                await sink.write(DATA[start : start + MIB])

        async def aclose(self) -> None:
            """Nothing is held."""

    passages, receiver = Passages(), InterruptedSink()
    async with following(path, passages) as follower:
        await PassingBody(LeftAndGoesOn(), DIGEST, WHOLE, passages).send_to(receiver)
        assert receiver.data == DATA
        path.write_bytes(DATA)
        assert await follower.has(len(DATA))
