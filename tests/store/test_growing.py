"""Growing files in ways that no store can be asked for."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.source import ContentNotFound
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.growing import GrowingFiles
from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.thresholds import GROWING_STALL_TIMEOUT
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES, reach
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import stripe_bytes

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest.of(b"anything")
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"12345")
    return path


def files(path: Path, *, size: int = 10, giving_timeout: float = 5.0) -> GrowingFiles:
    return GrowingFiles(
        lambda _: (os.open(path, os.O_RDONLY | os.O_CLOEXEC), size),
        lambda _: LAYER,
        stall_timeout=5.0,
        giving_timeout=giving_timeout,
    )


async def test_what_has_stopped_growing_is_passed_over(path: Path) -> None:
    os.utime(path, (0, time.time() - 6))
    with pytest.raises(ContentNotFound, match=r"nothing for \d+ s"):
        await files(path).growing(DIGEST)
    with pytest.raises(ContentNotFound):
        await files(path).open_growing(DIGEST, Span.whole)


@pytest.mark.looptime
async def test_what_has_stopped_growing_is_passed_over_though_the_clock_was_set_back(path: Path) -> None:
    growing = files(path)
    for _ in range(2):
        os.utime(path, (0, time.time() + 3600 + asyncio.get_running_loop().time()))  # written to, an hour ahead
        await growing.growing(DIGEST)
        await asyncio.sleep(4)
        await growing.growing(DIGEST)
        await asyncio.sleep(2)
        with pytest.raises(ContentNotFound, match="nothing for 6 s"):
            await growing.growing(DIGEST)


async def test_what_has_all_arrived_need_not_grow(path: Path) -> None:
    """containerd flushes it to a slow disk."""
    os.utime(path, (0, time.time() - 60))
    assert (await files(path, size=5).growing(DIGEST)).available == 5


async def test_what_is_taken_in_for_a_containerd_that_does_not_ask_is_given(path: Path) -> None:
    """containerd's places may be in use for longer than a follower waits for a receiver that gets nothing."""
    growing = files(path)
    os.utime(path, (0, time.time() - 60))
    with pytest.raises(ContentNotFound, match=r"nothing for 6\d s"):
        await growing.growing(DIGEST)
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        inflow.take(b"67890")
        assert (await growing.growing(DIGEST)).available == 10
        assert (await growing.wait_grown(DIGEST, beyond=5)).available == 10
        opened = await growing.open_growing(DIGEST, Span.whole)
        await opened.body.send_to(sink := FakeSink())
        await opened.body.aclose()
    assert sink.data == b"1234567890"


async def test_while_another_node_is_to_blame_what_stands_still_is_told(path: Path) -> None:
    growing = files(path)
    os.utime(path, (0, time.time() - 60))
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        for failure in (None, SourceBroken("it has nothing more")):
            if failure:
                inflow.fail(failure)
            content = await growing.growing(DIGEST)
            assert (content.available, content.is_held_up) == (5, True)
    assert (await growing.growing(DIGEST)).is_held_up, "containerd has to get it elsewhere, which takes a while"


async def test_so_it_is_with_what_comes_in_stripes(path: Path) -> None:
    """No byte of it has been written for longer than a writer may take."""
    size = 3 * ROW_BYTES
    growing = files(path, size=size)
    growing.inflows.memory.most = 10 * ROW_BYTES
    os.utime(path, (0, time.time() - 60))
    rest = Span(5, size)
    with growing.inflows.flowing(DIGEST, rest) as inflow, growing.inflows.in_stripes(DIGEST, rest) as board:
        for stripe in (None, 0, 3):
            assert (await said_of(growing, stripe)).is_held_up
        await board.put(3, bytes(reach(3, size)))
        assert not (await said_of(growing, 3)).is_held_up, "all of that stripe is here"
        assert (await said_of(growing, 4)).is_held_up
        growing.inflows.memory.most = 1
        inflow.take(b"6")
        assert not (await said_of(growing, 4)).is_held_up, "its containerd takes nothing"


async def said_of(growing: GrowingFiles, stripe: int | None) -> GrowingContent:
    return await (growing.growing(DIGEST) if stripe is None else growing.growing_stripe(DIGEST, stripe))


@pytest.mark.looptime
async def test_a_node_without_a_source_is_not_to_blame_for_a_while(path: Path) -> None:
    growing = files(path)
    os.utime(path, (0, time.time() - 60))
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        inflow.fail(SourceBroken("it has nothing more"))
        await asyncio.sleep(GROWING_STALL_TIMEOUT + 1)
        with pytest.raises(ContentNotFound):  # its containerd has not even taken what came
            await growing.growing(DIGEST)
    await asyncio.sleep(GROWING_STALL_TIMEOUT - 1)
    assert (await growing.growing(DIGEST)).is_held_up
    await asyncio.sleep(2)
    with pytest.raises(ContentNotFound):
        await growing.growing(DIGEST)


async def test_a_node_that_could_take_no_more_is_to_blame(path: Path) -> None:
    growing = files(path)
    growing.inflows.memory.most = 1
    os.utime(path)
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        assert (await growing.growing(DIGEST)).is_held_up
        inflow.take(b"6")
        assert not (await growing.growing(DIGEST)).is_held_up


async def test_what_has_come_to_the_end_is_not_held_up(path: Path) -> None:
    growing = files(path)
    os.utime(path)
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        inflow.take(b"67890")
        assert not (await growing.growing(DIGEST)).is_held_up
    assert not (await growing.growing(DIGEST)).is_held_up


async def test_what_stops_growing_ends_its_readers(path: Path) -> None:
    os.utime(path)  # just written to
    opened = await files(path, giving_timeout=2).open_growing(DIGEST, Span.whole)
    with pytest.raises(SourceBroken):
        await opened.body.send_to(sink := FakeSink())
    await opened.body.aclose()
    assert sink.data == b"12345"


async def test_a_file_that_is_larger_than_promised_is_cut(path: Path) -> None:
    growing = files(path, size=3)
    content = await growing.growing(DIGEST)
    assert (content.available, content.size, content.media_type) == (3, 3, LAYER)
    opened = await growing.open_growing(DIGEST, Span.whole)
    await opened.body.send_to(sink := FakeSink())
    await opened.body.aclose()
    assert sink.data == b"123"


async def test_a_file_that_is_being_removed_is_not_growing(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    with pytest.raises(ContentNotFound):
        await GrowingFiles(lambda _: (fd, 10), lambda _: None).growing(DIGEST)


def in_chunks(path: Path, *, size: int = 10, giving_timeout: float = 20.0) -> GrowingFiles:
    """Of a containerd that fetches in parallel; the file is no ingest any more when it has another name."""

    def open_ingest(_: Digest) -> tuple[int, int]:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC), size
        except FileNotFoundError as error:
            raise ContentNotFound("it is not being received") from error

    growing = GrowingFiles(open_ingest, lambda _: LAYER, giving_timeout=giving_timeout)
    growing.inflows.sure.may_come_in_chunks = True
    growing.inflows.sure.asked(DIGEST, 0, in_chunks=True)
    return growing


async def test_what_may_be_wrong_is_withheld(path: Path) -> None:
    growing = await in_chunks(path).growing(DIGEST)
    assert (growing.available, growing.withheld, growing.received) == (0, 5, 5)
    with pytest.raises(NotArrived):
        await in_chunks(path).open_growing(DIGEST, Span.whole)


async def test_what_is_withheld_is_told_when_it_has_been_verified(path: Path) -> None:
    files = in_chunks(path, size=5)
    assert (await files.growing(DIGEST)).available == 0
    waiting = asyncio.create_task(files.wait_grown(DIGEST, beyond=0))
    done, _ = await asyncio.wait((waiting,), timeout=0.1)
    assert not done, "all of it is there, and has not been hashed yet"
    path.rename(path.with_name("blob"))
    assert (await asyncio.wait_for(waiting, 10)).available == 5


async def test_what_was_given_up_while_it_was_withheld_is_gone(path: Path) -> None:
    files = in_chunks(path, size=5)
    waiting = asyncio.create_task(files.wait_grown(DIGEST, beyond=0))
    await asyncio.wait((waiting,), timeout=0.1)
    path.unlink()
    with pytest.raises(ContentNotFound):
        await asyncio.wait_for(waiting, 10)


async def test_a_reader_gets_what_is_sure_and_no_more(path: Path) -> None:
    os.utime(path)  # just written to
    files = in_chunks(path, giving_timeout=2)
    with files.inflows.sure.giving(DIGEST, 0) as given:
        given.follow(Counted(3))
        opened = await files.open_growing(DIGEST, Span.whole)
        with pytest.raises(SourceBroken):
            await opened.body.send_to(sink := FakeSink())
        await opened.body.aclose()
    assert sink.data == b"123"


@dataclass
class Counted:
    """What has been given to containerd, of which only the count is wanted."""

    sent: int


# Stripes

ROWS = os.urandom(2 * ROW_BYTES + 5)


def begun(path: Path, data: bytes, *, size: int = len(ROWS)) -> GrowingFiles:
    path.write_bytes(data)
    return files(path, size=size)


async def test_a_stripe_is_told_and_given_from_all_places(path: Path) -> None:
    growing = begun(path, ROWS[: PIECE_BYTES + 5])
    with growing.inflows.flowing(DIGEST, Span.whole(len(ROWS))) as inflow:
        inflow.take(ROWS[: 4 * PIECE_BYTES])
        with growing.inflows.in_stripes(DIGEST, Span(4 * PIECE_BYTES, len(ROWS))) as board:
            await board.put(1, stripe_bytes(ROWS, 1)[PIECE_BYTES:])
            await board.put(6, stripe_bytes(ROWS, 6)[:PIECE_BYTES])
            here = [(await growing.growing_stripe(DIGEST, stripe)).available for stripe in range(STRIPES)]
            assert here == [PIECE_BYTES * count for count in (1, 2, 1, 1, 0, 0, 1, 0)]
            assert (await growing.growing_stripe(DIGEST, 1, beyond=PIECE_BYTES)).available == 2 * PIECE_BYTES
            opened = await growing.open_stripe(DIGEST, 1, Span.whole)
            async with aclosing(opened.body) as body:
                await body.send_to(sink := FakeSink())
            with pytest.raises(NotArrived):
                await growing.open_stripe(DIGEST, 7, Span.whole)
    assert sink.data == stripe_bytes(ROWS, 1)


async def test_who_waits_for_a_stripe_is_told_when_it_comes_onto_the_board(path: Path) -> None:
    growing = begun(path, b"")
    with growing.inflows.in_stripes(DIGEST, Span.whole(len(ROWS))) as board:
        waiting = asyncio.create_task(growing.growing_stripe(DIGEST, 5, beyond=0))
        await asyncio.sleep(0.01)
        await board.put(4, bytes(PIECE_BYTES))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await board.put(5, bytes(PIECE_BYTES))
        assert (await asyncio.wait_for(waiting, 10)).available == PIECE_BYTES


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES])
async def test_of_small_content_most_stripes_are_empty(path: Path, size: int) -> None:
    growing = begun(path, ROWS[:size], size=size)
    for stripe in range(1, STRIPES):
        for beyond in (None, 0, 2**64 - 1):
            content = await asyncio.wait_for(growing.growing_stripe(DIGEST, stripe, beyond=beyond), 10)
            assert (content.size, content.available) == (0, 0)
        with pytest.raises(NotArrived):
            await growing.open_stripe(DIGEST, stripe, Span.whole)
    assert (await growing.growing_stripe(DIGEST, 0)).available == size


async def test_of_a_file_that_is_larger_than_promised_a_stripe_is_cut(path: Path) -> None:
    growing = begun(path, ROWS, size=ROW_BYTES + 3)
    content = await growing.growing_stripe(DIGEST, 0)
    assert (content.available, content.size) == (PIECE_BYTES + 3, PIECE_BYTES + 3)
    assert (await growing.growing_stripe(DIGEST, 1, beyond=7)).available == PIECE_BYTES
    opened = await growing.open_stripe(DIGEST, 0, Span.whole)
    async with aclosing(opened.body) as body:
        await body.send_to(sink := FakeSink())
    assert sink.data == ROWS[:PIECE_BYTES] + ROWS[ROW_BYTES : ROW_BYTES + 3]


async def test_of_what_may_be_wrong_no_stripe_is_given(path: Path) -> None:
    path.write_bytes(ROWS[:ROW_BYTES])
    growing = in_chunks(path, size=len(ROWS))
    rest = Span(ROW_BYTES, len(ROWS))
    with growing.inflows.flowing(DIGEST, rest), growing.inflows.in_stripes(DIGEST, rest) as board:
        await board.put(0, stripe_bytes(ROWS, 0)[PIECE_BYTES:])
        for stripe in (0, 3):
            assert (await growing.growing_stripe(DIGEST, stripe)).available == 0
            with pytest.raises(NotArrived):
                await growing.open_stripe(DIGEST, stripe, Span.whole)


async def test_stripes_that_come_for_a_containerd_that_does_not_ask_are_given(path: Path) -> None:
    """The first bytes of the content may be the last to come."""
    growing = begun(path, b"")
    os.utime(path, (0, time.time() - 60))
    whole = Span.whole(len(ROWS))
    with growing.inflows.flowing(DIGEST, whole), growing.inflows.in_stripes(DIGEST, whole) as board:
        assert (await growing.growing_stripe(DIGEST, 5)).available == 0
        waiting = asyncio.create_task(growing.growing_stripe(DIGEST, 5, beyond=0))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await board.put(5, stripe_bytes(ROWS, 5))
        for content in (await waiting, await growing.growing_stripe(DIGEST, 5)):
            assert content.available == content.size == 2 * PIECE_BYTES
        opened = await growing.open_stripe(DIGEST, 5, Span.whole)
        async with aclosing(opened.body) as body:
            await body.send_to(sink := FakeSink())
        assert (await growing.growing_stripe(DIGEST, 4)).available == 0
    assert sink.data == stripe_bytes(ROWS, 5)
    assert (await growing.growing_stripe(DIGEST, 5)).available == 0


async def test_a_stripe_of_what_has_stopped_growing_is_passed_over(path: Path) -> None:
    growing = begun(path, ROWS[:ROW_BYTES])
    os.utime(path, (0, time.time() - 6))
    for beyond in (None, 0):
        with pytest.raises(ContentNotFound, match=r"nothing for \d+ s"):
            await growing.growing_stripe(DIGEST, 0, beyond=beyond)
    with pytest.raises(ContentNotFound, match=r"nothing for \d+ s"):
        await growing.open_stripe(DIGEST, 0, Span.whole)
