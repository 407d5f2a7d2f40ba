from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.file import _CALL_BYTES, _TURN_SECONDS, FileBody
from tests.fakes.sinks import FakeSink
from tests.transfer.receiver import receiver

if TYPE_CHECKING:
    from pathlib import Path

DATA = os.urandom(24 * 1024 * 1024 + 17)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


def open_body(path: Path, span: Span) -> FileBody:
    return FileBody(os.open(path, os.O_RDONLY | os.O_CLOEXEC), span)


SPANS = pytest.mark.parametrize(
    "span",
    [Span.whole(len(DATA)), Span(3, 4), Span(4095, 300_001), Span(len(DATA) - 1, len(DATA)), Span(0, 0)],
    ids=str,
)


@SPANS
async def test_into_a_plain_connection(path: Path, span: Span) -> None:
    async with aclosing(open_body(path, span)) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(span.length) == DATA[span.start : span.stop]
            await sending
            assert got.sink.sent == span.length == body.length
            assert await got.read_rest() == b""


@SPANS
async def test_into_a_connection_without_a_descriptor(path: Path, span: Span) -> None:
    async with aclosing(open_body(path, span)) as body:
        await body.send_to(sink := FakeSink())
    assert sink.data == DATA[span.start : span.stop]
    assert sink.sent == span.length


async def test_a_file_shorter_than_its_span_is_a_broken_source(path: Path) -> None:
    async with aclosing(open_body(path, Span(len(DATA) - 1_000_000, len(DATA) + 1))) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(1_000_000) == DATA[-1_000_000:]
            with pytest.raises(SourceBroken, match="1 bytes early"):
                await sending
            assert got.sink.sent == 1_000_000


async def test_copying_a_file_shorter_than_its_span_is_a_broken_source(path: Path) -> None:
    async with aclosing(open_body(path, Span(len(DATA) - 10, len(DATA) + 10))) as body:
        with pytest.raises(SourceBroken, match="10 bytes early"):
            await body.send_to(sink := FakeSink())
    assert sink.data == DATA[-10:]


@pytest.mark.parametrize("length", [10, 1_000_000])
async def test_a_file_that_cannot_be_read_is_a_broken_source(tmp_path: Path, length: int) -> None:
    async with aclosing(open_body(tmp_path, Span(0, length))) as body:  # a folder: EISDIR, EINVAL
        with receiver() as got, pytest.raises(SourceBroken, match="cannot be read"):
            await body.send_to(got.sink)


async def test_a_receiver_that_goes_away_is_not_the_files_fault(path: Path) -> None:
    async with aclosing(open_body(path, Span.whole(len(DATA)))) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            await got.read(1000)
            got.hang_up()
            with pytest.raises(SinkClosed):
                await sending


async def test_receivers_that_do_not_read_hold_no_thread(path: Path) -> None:
    """More of them than the pool has threads; one that reads gets everything meanwhile."""
    async with AsyncExitStack() as cleanup:
        bodies = [await cleanup.enter_async_context(aclosing(open_body(path, Span.whole(len(DATA))))) for _ in range(9)]
        receivers = [cleanup.enter_context(receiver()) for _ in bodies]
        sending = [asyncio.create_task(body.send_to(got.sink)) for body, got in zip(bodies, receivers, strict=True)]
        assert await receivers[-1].read(len(DATA)) == DATA
        await sending.pop()
        assert not any(stuck.done() for stuck in sending)
        for stuck in sending:
            stuck.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def test_cancelling_waits_for_the_call_that_uses_the_descriptors(path: Path) -> None:
    body = open_body(path, Span.whole(len(DATA)))
    with receiver() as got:
        got.let_sender_block(blocking=True)
        sending = asyncio.create_task(body.send_to(got.sink))
        first = await got.read(1000)
        # The thread reads the same clock: when the turn is over, the call that it sleeps in is its last one, however
        # quickly the rest is read then.
        turn_ends = time.monotonic() + _TURN_SECONDS
        sending.cancel()
        while time.monotonic() < turn_ends:  # noqa: ASYNC110 - the thread's clock is no event
            await asyncio.sleep(0)
        assert not sending.done()
        sending.cancel()  # a second time: still not before the call has returned
        await asyncio.sleep(0)
        assert not sending.done()
        # One reader to the end: what the call leaves in the buffers may be read before its end is noticed.
        rest = asyncio.create_task(got.read(len(DATA)))
        with pytest.raises(asyncio.CancelledError):
            await sending
        got.end()
        first += await rest
    await body.aclose()
    assert first == DATA[: got.sink.sent]
    assert 0 < got.sink.sent <= _CALL_BYTES < len(DATA)


async def test_closing_twice_closes_once(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    body = FileBody(fd, Span(0, 1))
    await body.aclose()
    again = os.open(path, os.O_RDONLY)
    assert again == fd
    await body.aclose()
    os.close(again)
    with pytest.raises(ValueError, match="closed"):
        await body.send_to(FakeSink())
