"""Growing files in ways that no store can be asked for."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from registryd.content.growing import NotArrived
from registryd.content.source import ContentNotFound
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.growing import GrowingFiles
from registryd.transfer.errors import SourceBroken
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest.of(b"anything")
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"12345")
    return path


def files(path: Path, *, size: int = 10, stall_timeout: float = 5.0) -> GrowingFiles:
    return GrowingFiles(
        lambda _: (os.open(path, os.O_RDONLY | os.O_CLOEXEC), size), lambda _: LAYER, stall_timeout=stall_timeout
    )


async def test_what_has_stopped_growing_is_passed_over(path: Path) -> None:
    os.utime(path, (0, time.time() - 6))
    with pytest.raises(ContentNotFound, match="nothing for 6 s"):
        await files(path).growing(DIGEST)
    with pytest.raises(ContentNotFound):
        await files(path).open_growing(DIGEST, Span.whole)


async def test_what_has_all_arrived_need_not_grow(path: Path) -> None:
    """containerd flushes it to a slow disk."""
    os.utime(path, (0, time.time() - 60))
    assert (await files(path, size=5).growing(DIGEST)).available == 5


async def test_what_is_taken_in_for_a_containerd_that_does_not_ask_is_given(path: Path) -> None:
    """containerd's places may be in use for longer than a follower waits for a receiver that gets nothing."""
    growing = files(path)
    os.utime(path, (0, time.time() - 60))
    with growing.inflows.flowing(DIGEST, Span(5, 10)) as inflow:
        with pytest.raises(ContentNotFound, match="nothing for 60 s"):
            await growing.growing(DIGEST)
        inflow.take(b"67890")
        assert (await growing.growing(DIGEST)).available == 10
        assert (await growing.wait_grown(DIGEST, beyond=5)).available == 10
        opened = await growing.open_growing(DIGEST, Span.whole)
        await opened.body.send_to(sink := FakeSink())
        await opened.body.aclose()
    assert sink.data == b"1234567890"


async def test_what_stops_growing_ends_its_readers(path: Path) -> None:
    opened = await files(path, stall_timeout=0.1).open_growing(DIGEST, Span.whole)
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


def in_chunks(path: Path, *, size: int = 10, stall_timeout: float = 5.0) -> GrowingFiles:
    """Of a containerd that fetches in parallel; the file is no ingest any more when it has another name."""

    def open_ingest(_: Digest) -> tuple[int, int]:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC), size
        except FileNotFoundError as error:
            raise ContentNotFound("it is not being received") from error

    growing = GrowingFiles(open_ingest, lambda _: LAYER, stall_timeout=stall_timeout)
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
    assert (await asyncio.wait_for(waiting, 5)).available == 5


async def test_what_was_given_up_while_it_was_withheld_is_gone(path: Path) -> None:
    files = in_chunks(path, size=5)
    waiting = asyncio.create_task(files.wait_grown(DIGEST, beyond=0))
    await asyncio.wait((waiting,), timeout=0.1)
    path.unlink()
    with pytest.raises(ContentNotFound):
        await asyncio.wait_for(waiting, 5)


async def test_a_reader_gets_what_is_sure_and_no_more(path: Path) -> None:
    files = in_chunks(path, stall_timeout=0.2)
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
