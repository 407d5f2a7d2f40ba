"""Content on its way in: what becomes of it when all goes well, and when something does not."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress, StoreFull
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.directory.errors import writing
from registryd.store.directory.ingest import FileIngest
from registryd.store.directory.store import DirectoryStore, open_directory_store
from tests.contracts.content_store import read
from tests.fakes.images import sample_bytes
from tests.fakes.layouts import blob_path

if TYPE_CHECKING:
    from pathlib import Path

DATA = sample_bytes(200_000)
DIGEST = Digest.of(DATA)


def growing(root: Path) -> list[Path]:
    """The files that are on their way in."""
    return [path for path in root.glob("ingest/*/*") if path.name != "lock"]


# ---- all goes well


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("size", [None, len(DATA)])
async def test_committed_content_is_found(root: Path, store: DirectoryStore, algorithm: str, size: int | None) -> None:
    digest = Digest.of(DATA, algorithm=algorithm)
    ingest = await store.begin(digest, size=size)
    for start in range(0, len(DATA), 30_000):
        await ingest.write(DATA[start : start + 30_000])
    assert ingest.received == len(DATA)
    await ingest.commit()
    await ingest.aclose()
    assert await read(store, digest, Span.whole) == DATA
    assert blob_path(root, digest).stat().st_mode & 0o777 == 0o444
    assert growing(root) == []


async def test_empty_content(store: DirectoryStore) -> None:
    ingest = await store.begin(Digest.of(b""), size=0)
    await ingest.commit()
    assert (await store.find(Digest.of(b""))).size == 0


async def test_content_is_not_found_before_it_is_committed(store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST)
    await ingest.write(DATA)
    await ingest.seal()
    await ingest.seal()
    with pytest.raises(ContentNotFound):
        await store.find(DIGEST)
    await ingest.commit()
    assert (await store.find(DIGEST)).size == len(DATA)


async def test_what_has_arrived_can_be_read_at_once(root: Path, store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST, size=len(DATA))
    await ingest.write(DATA[:1000])
    [file] = growing(root)
    assert file.read_bytes() == DATA[:1000]
    await ingest.aclose()


async def test_what_came_in_a_burst_can_be_read_when_the_source_pauses(root: Path, store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST, size=len(DATA))
    grown = asyncio.Event()
    fd = ingest.open_written(lambda written: grown.set() if written == 5000 else None)
    for start in range(0, 5000, 1000):
        await ingest.write(DATA[start : start + 1000])
    await grown.wait()
    assert os.pread(fd, 10_000, 0) == DATA[:5000]
    os.close(fd)
    await ingest.aclose()


async def test_a_disk_that_fails_in_a_pause_is_told_at_the_next_call(root: Path, store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST, size=len(DATA))
    await ingest.write(DATA[:1000])
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, ingest._file)
    os.close(full)
    with suppress(StoreFull):  # on a machine that is busy, so that it was not in the pause
        await ingest.write(DATA[1000:2000])
    ingest._flush_later()
    assert ingest._flushing
    await asyncio.wait((ingest._flushing,))
    with pytest.raises(StoreFull):
        await ingest.write(DATA[2000:3000])
    await ingest.aclose()
    assert growing(root) == []


async def test_content_that_is_there_can_be_received_again(root: Path, store: DirectoryStore) -> None:
    for _ in range(2):
        ingest = await store.begin(DIGEST)
        await ingest.write(DATA)
        await ingest.commit()
    assert await read(store, DIGEST, Span.whole) == DATA
    assert growing(root) == []


async def test_damaged_blob_is_replaced(root: Path, store: DirectoryStore) -> None:
    blob_path(root, DIGEST).write_bytes(b"damaged")
    ingest = await store.begin(DIGEST)
    await ingest.write(DATA)
    await ingest.commit()
    assert await read(store, DIGEST, Span.whole) == DATA


# ---- one at a time


async def test_second_ingest_of_a_digest_is_refused_until_the_first_ends(store: DirectoryStore) -> None:
    first = await store.begin(DIGEST)
    with pytest.raises(IngestInProgress):
        await store.begin(DIGEST)
    await first.aclose()
    second = await store.begin(DIGEST)
    await second.write(DATA)
    await second.commit()
    await (await store.begin(DIGEST)).aclose()


async def test_two_processes_may_receive_the_same(root: Path, store: DirectoryStore) -> None:
    async with open_directory_store(root) as other:
        ingests = [await store.begin(DIGEST), await other.begin(DIGEST)]
        for ingest in ingests:
            await ingest.write(DATA)
        for ingest in ingests:
            await ingest.commit()
        assert await read(store, DIGEST, Span.whole) == DATA


async def test_many_at_once(store: DirectoryStore) -> None:
    contents = [sample_bytes(50_000, seed=seed) for seed in range(30)]

    async def put(data: bytes) -> None:
        ingest = await store.begin(Digest.of(data))
        await ingest.write(data)
        await ingest.commit()

    await asyncio.gather(*map(put, contents))
    for data in contents:
        assert await read(store, Digest.of(data), Span.whole) == data


# ---- something is wrong with the bytes


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"?", DATA + b"more", b""])
@pytest.mark.parametrize("size", [None, len(DATA)])
async def test_other_bytes_are_refused(root: Path, store: DirectoryStore, data: bytes, size: int | None) -> None:
    ingest = await store.begin(DIGEST, size=size)
    with pytest.raises(ContentMismatch):
        await _put(ingest, data)
    await ingest.aclose()
    assert growing(root) == []
    with pytest.raises(ContentNotFound):
        await store.find(DIGEST)
    await (await store.begin(DIGEST)).aclose()


async def test_closed_ingest_takes_nothing(store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST)
    await ingest.aclose()
    await ingest.aclose()
    with pytest.raises(ValueError, match="aborted"):
        await ingest.write(DATA)
    with pytest.raises(ValueError, match="aborted"):
        await ingest.commit()


async def test_sealed_ingest_that_is_aborted_leaves_nothing(root: Path, store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST)
    await ingest.write(DATA)
    await ingest.seal()
    await ingest.aclose()
    assert growing(root) == []
    with pytest.raises(ValueError, match="aborted"):
        await ingest.commit()


# ---- the disk, the receiver and the process


class FullDisk:
    """A place on a disk that takes nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def create(self, digest: Digest) -> int:
        self.calls.append("create")
        # Every write to this device fails with "no space left".
        return os.open("/dev/full", os.O_WRONLY)

    def publish(self, digest: Digest) -> None:
        self.calls.append("publish")

    def keep(self, digest: Digest) -> None:
        self.discard(digest)

    def discard(self, digest: Digest) -> None:
        self.calls.append("discard")

    def release(self, digest: Digest) -> None:
        self.calls.append("release")


async def test_full_disk_is_told_and_leaves_nothing() -> None:
    place = FullDisk()
    ingest = FileIngest(place, DIGEST, len(DATA))
    await ingest.begin()
    with pytest.raises(StoreFull):
        await ingest.write(DATA)
    await ingest.aclose()
    assert place.calls == ["create", "discard", "release"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
    ],
)
def test_errors_of_the_disk(code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, writing("it"):
        raise OSError(code, "why")
    assert type(caught.value) is kind
    assert str(caught.value) == "it cannot be written: why"


async def test_cancelled_write_ends_the_ingest(root: Path, store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST)
    writing_task = asyncio.create_task(ingest.write(DATA))
    await asyncio.sleep(0)
    writing_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing_task
    assert growing(root) == []
    await (await store.begin(DIGEST)).aclose()


async def test_closing_the_store_aborts_what_is_coming_in(root: Path) -> None:
    async with open_directory_store(root) as store:
        ingest = await store.begin(DIGEST)
        await ingest.write(DATA)
    assert list((root / "ingest").glob("*/")) == []
    with pytest.raises(StoreUnavailable):
        await ingest.commit()
    assert not blob_path(root, DIGEST).exists()


async def _put(ingest: object, data: bytes) -> None:
    assert isinstance(ingest, FileIngest)
    for start in range(0, len(data), 70_000):
        await ingest.write(data[start : start + 70_000])
    await ingest.commit()
