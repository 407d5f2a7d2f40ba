from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.file_events import FileEvents
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.growing import GrowingBody, watching_arrival
from registryd.transfer.inflow import Inflows
from tests.fakes.sinks import FakeSink
from tests.transfer.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from registryd.transfer.growing import Arriving

# More than a slice that is copied, and not a multiple of anything.
STEP = 300_001
DATA = os.urandom(5 * STEP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.touch()
    return path


def open_body(path: Path, span: Span, *, stall_timeout: float = 5.0) -> GrowingBody:
    return GrowingBody(os.open(path, os.O_RDONLY | os.O_CLOEXEC), span, watching(), stall_timeout=stall_timeout)


def watching() -> Callable[[int], AbstractContextManager[Arriving]]:
    return partial(watching_arrival, digest=Digest.of(DATA), events=FileEvents(), inflows=Inflows())


def append(path: Path, *steps: int) -> None:
    with path.open("ab") as file:
        for step in steps:
            file.write(DATA[step * STEP : (step + 1) * STEP])


async def sent(sink: FakeSink, count: int) -> None:
    """Wait until so much has come through."""
    async with asyncio.timeout(30):
        while sink.sent < count:  # noqa: ASYNC110 - a sink has no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("span", [Span.whole(len(DATA)), Span(7, 5 * STEP - 7), Span(STEP - 1, STEP + 1)], ids=str)
async def test_what_is_there_is_sent_and_the_rest_as_it_comes(path: Path, span: Span) -> None:
    append(path, 0)
    async with aclosing(open_body(path, span)) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            first = min(STEP, span.stop) - span.start
            assert await got.read(first) == DATA[span.start : span.start + first]
            for step in (1, 2, 3, 4):
                append(path, step)
                await asyncio.sleep(0.002)
            assert await got.read(span.length - first) == DATA[span.start + first : span.stop]
            await sending
            assert got.sink.sent == body.length == span.length
            assert await got.read_rest() == b""


async def test_a_receiver_without_a_descriptor_follows_too(path: Path) -> None:
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        for step in range(5):
            append(path, step)
            await sent(sink, (step + 1) * STEP)
        await sending
    assert sink.data == DATA


async def test_each_of_many_followers_gets_everything(path: Path) -> None:
    shared = watching()
    bodies = [GrowingBody(os.open(path, os.O_RDONLY), Span.whole(len(DATA)), shared) for _ in range(5)]
    sinks = [FakeSink() for _ in bodies]
    sending = [asyncio.create_task(body.send_to(sink)) for body, sink in zip(bodies, sinks, strict=True)]
    for step in range(5):
        append(path, step)
        await asyncio.sleep(0.002)
    await asyncio.gather(*sending)
    for body in bodies:
        await body.aclose()
    assert all(sink.data == DATA for sink in sinks)


async def test_a_reader_keeps_its_place_when_the_file_becomes_whole(path: Path) -> None:
    append(path, 0, 1)
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        await sent(sink, 2 * STEP)
        append(path, 2, 3, 4)
        blob = path.rename(path.with_name("blob"))
        blob.chmod(0o444)
        blob.unlink()  # and is collected before it was read
        await sending
    assert sink.data == DATA


async def test_what_is_given_up_ends_its_readers_after_the_last_byte(path: Path) -> None:
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        append(path, 0, 1)
        await sent(sink, STEP)
        loop = asyncio.get_running_loop()
        path.unlink()
        given_up_at = loop.time()
        with pytest.raises(SourceBroken, match="given up after"):
            await sending
        assert loop.time() - given_up_at < 10
    assert sink.data == DATA[: 2 * STEP]


async def test_what_stays_as_it_is_is_given_up(path: Path) -> None:
    append(path, 0)
    async with aclosing(open_body(path, Span.whole(len(DATA)), stall_timeout=0.1)) as body:
        with pytest.raises(SourceBroken, match="no byte after the first 300001 arrived"):
            await body.send_to(sink := FakeSink())
    assert sink.data == DATA[:STEP]


async def test_every_byte_is_progress(path: Path) -> None:
    # All of it takes longer than the time-out; each byte takes a sixth of it, for a machine that is busy.
    async with aclosing(open_body(path, Span.whole(8), stall_timeout=3)) as body:
        sending = asyncio.create_task(body.send_to(sink := FakeSink()))
        for _ in range(8):
            await asyncio.sleep(0.5)
            with path.open("ab") as file:
                file.write(b"x")
        await sending
    assert sink.data == b"x" * 8


async def test_a_status_change_is_no_progress(path: Path) -> None:
    async with aclosing(open_body(path, Span.whole(8), stall_timeout=0.1)) as body:
        sending = asyncio.create_task(body.send_to(FakeSink()))
        for _ in range(100):
            path.touch()
            await asyncio.sleep(0.01)
            if sending.done():
                break
        with pytest.raises(SourceBroken):
            await sending


async def test_a_receiver_that_goes_away_is_not_the_sources_fault(path: Path) -> None:
    append(path, 0)
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        with pytest.raises(SinkClosed):
            await body.send_to(FakeSink(closes_after=10))


async def test_cancelled_while_waiting(path: Path) -> None:
    append(path, 0)
    body = open_body(path, Span.whole(len(DATA)))
    sending = asyncio.create_task(body.send_to(sink := FakeSink()))
    await sent(sink, STEP)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await body.aclose()
    await body.aclose()
    with pytest.raises(ValueError, match="closed"):
        await body.send_to(FakeSink())


async def test_more_than_was_promised_is_not_sent(path: Path) -> None:
    append(path, 0, 1)
    async with aclosing(open_body(path, Span(0, STEP))) as body:
        await body.send_to(sink := FakeSink())
    assert sink.data == DATA[:STEP]


async def test_a_connection_that_is_closed_while_nothing_comes(path: Path) -> None:
    append(path, 0)
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(STEP) == DATA[:STEP]
            got.hang_up()
            while not sending.done():
                append(path, 1)
                await asyncio.sleep(0.002)
            with pytest.raises(SinkClosed):
                await sending


async def test_a_file_that_shrinks_is_a_broken_source(path: Path) -> None:
    append(path, 0, 1, 2)
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        with receiver() as got:  # whose buffers hold less than that
            sending = asyncio.create_task(body.send_to(got.sink))
            await got.read(1)
            os.truncate(path, 1)
            reading = asyncio.create_task(got.read(3 * STEP))
            with pytest.raises(SourceBroken, match="the file ends"):
                await sending
            reading.cancel()


async def test_a_reader_that_is_far_behind_catches_up(path: Path) -> None:
    more = os.urandom(6 * 1024 * 1024)
    path.write_bytes(more)
    async with aclosing(open_body(path, Span.whole(len(more) + 1))) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(len(more)) == more
            with path.open("ab") as file:
                file.write(b"x")
            assert await got.read(1) == b"x"
            await sending
