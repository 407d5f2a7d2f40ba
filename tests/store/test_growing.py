"""Growing files in ways that no store can be asked for."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

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
