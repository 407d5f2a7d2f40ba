"""Bringing content and names into containerd, and leaving nothing behind when that fails."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import StoreSettings
from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress, StoreFull
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.store.containerd.writer import open_containerd_writer
from tests.contracts.content_store import is_known, read, resolves_to, until
from tests.fakes.containerd_faults import Fault
from tests.fakes.images import oci_image, oci_index, sample_bytes
from tests.store.containerd.conftest import HASTY, PATIENT, PROMPT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.store.containerd.timing import Timing
    from registryd.store.containerd.writer import ContainerdWriter
    from tests.fakes.containerd import FakeContainerd
    from tests.fakes.images import SampleImage
    from tests.store.containerd.conftest import Connect

DATA = sample_bytes(2_500_000)
DIGEST = Digest.of(DATA)


@asynccontextmanager
async def writing(containerd: FakeContainerd, *, timing: Timing = PATIENT) -> AsyncIterator[ContainerdWriter]:
    """A writer; when it ends neither a lease nor an ingest is left."""
    async with open_containerd_writer(StoreSettings(containerd_socket=containerd.socket), timing=timing) as writer:
        yield writer
    assert not containerd.leases
    await eventually(lambda: not containerd.ingests)


async def write_all(writer: ContainerdWriter, image: SampleImage) -> None:
    for digest, data in image.blobs.items():
        ingest = await writer.begin(digest, size=len(data))
        await ingest.write(data)
        await ingest.commit()


async def test_an_image_is_found_once_it_is_named(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_index()
    async with connect() as store, writing(containerd) as writer:
        await write_all(writer, image)
        [held] = containerd.leases.values()
        assert held == {str(digest) for digest in image.blobs}
        await writer.name({image.name: image.target})
        await until(lambda: is_known(store, image))


async def test_the_garbage_collector_is_told_of_every_child(containerd: FakeContainerd) -> None:
    image = oci_index()
    async with writing(containerd) as writer:
        await write_all(writer, image)
        await writer.name({image.name: image.target})
    assert set(containerd.labels[str(image.target.digest)]) == {
        "containerd.io/gc.ref.content.0",
        "containerd.io/gc.ref.content.1",
    }
    labelled = {child for labels in containerd.labels.values() for child in labels.values()}
    assert labelled == {str(digest) for digest in {*image.blobs, *image.absent} - {image.target.digest}}


async def test_a_name_moves(containerd: FakeContainerd, connect: Connect) -> None:
    old, new = oci_image(layers=(b"old",)), oci_image(layers=(b"new",))
    async with connect() as store, writing(containerd) as writer:
        for image in (old, new):
            await write_all(writer, image)
            await writer.name({image.name: image.target})
        await until(lambda: resolves_to(store, new))


async def test_a_containerd_that_is_busy_is_waited_for(containerd: FakeContainerd) -> None:
    """It answers a question in half a millisecond, and a change of its database behind what others write."""
    image = oci_index()
    containerd.fault = Fault.LATE
    async with writing(containerd, timing=PROMPT) as writer:
        await write_all(writer, image)
        for _ in range(2):  # set, and moved
            await writer.name({image.name: image.target})
    assert set(containerd.images["k8s.io"]) == {str(image.name)}


async def test_a_name_needs_its_target(containerd: FakeContainerd) -> None:
    image = oci_image()
    async with writing(containerd) as writer:
        await write_all(writer, image)
        missing = Descriptor(OCI_MANIFEST, Digest.of(b"missing"), 7)
        with pytest.raises(ContentNotFound):
            await writer.name({image.name: image.target, oci_index().name: missing})
    assert not containerd.images["k8s.io"]


@pytest.mark.parametrize("piece", [1 << 14, 1 << 20, 1 << 24])
async def test_bytes_arrive_in_order(containerd: FakeContainerd, connect: Connect, piece: int) -> None:
    async with connect() as store, writing(containerd) as writer:
        ingest = await writer.begin(DIGEST)
        for start in range(0, len(DATA), piece):
            await ingest.write(DATA[start : start + piece])
        assert ingest.received == len(DATA)
        await ingest.seal()
        await ingest.seal()
        with pytest.raises(ContentNotFound):
            await store.find(DIGEST)
        await ingest.commit()
        await ingest.aclose()
        assert await read(store, DIGEST, Span.whole) == DATA


async def test_what_is_there_already_can_be_received_again(containerd: FakeContainerd) -> None:
    containerd.put_blob(DATA)
    async with writing(containerd) as writer:
        ingest = await writer.begin(DIGEST, size=len(DATA))
        await ingest.write(DATA)
        await ingest.commit()
        assert [str(DIGEST)] == [digest for held in containerd.leases.values() for digest in held]


async def test_one_at_a_time(containerd: FakeContainerd) -> None:
    async with writing(containerd) as writer:
        ingest = await writer.begin(DIGEST)
        with pytest.raises(IngestInProgress):
            await writer.begin(DIGEST)
        await ingest.aclose()
        await (await writer.begin(DIGEST)).aclose()


@pytest.mark.parametrize(
    ("data", "size", "why"),
    [
        (DATA[:-1], None, "are not those of"),
        (DATA[:-1], len(DATA), "2499999 instead of 2500000 bytes"),
        (DATA + b"x", len(DATA), "more than the promised 2500000 bytes"),
    ],
)
async def test_other_bytes_are_refused(containerd: FakeContainerd, data: bytes, size: int | None, why: str) -> None:
    async with writing(containerd) as writer:
        ingest = await writer.begin(DIGEST, size=size)
        with pytest.raises(ContentMismatch, match=why):  # noqa: PT012 - whichever notices
            await ingest.write(data)
            await ingest.seal()
        await eventually(lambda: not containerd.ingests)
        with pytest.raises(ValueError, match="is aborted"):
            await ingest.write(b"more")
    assert not containerd.content["k8s.io"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.DISK_FULL, StoreFull), (Fault.STALLED_WRITE, StoreUnavailable)],
)
async def test_containerd_takes_no_bytes(containerd: FakeContainerd, fault: Fault, error: type[Exception]) -> None:
    async with writing(containerd, timing=HASTY if fault is Fault.STALLED_WRITE else PATIENT) as writer:
        ingest = await writer.begin(DIGEST)
        containerd.fault = fault
        with pytest.raises(error):
            await ingest.write(DATA)
        await ingest.aclose()
        await eventually(lambda: not containerd.ingests)


async def test_containerd_dies_meanwhile(containerd: FakeContainerd) -> None:
    async with open_containerd_writer(StoreSettings(containerd_socket=containerd.socket), timing=PATIENT) as writer:
        ingest = await writer.begin(DIGEST)
        await containerd.stop()
        with pytest.raises(StoreUnavailable):
            await ingest.write(DATA)
        await ingest.aclose()
        with pytest.raises(StoreUnavailable):
            await writer.begin(DIGEST)


async def test_containerd_is_away(containerd: FakeContainerd) -> None:
    await containerd.stop()
    with pytest.raises(StoreUnavailable):
        async with open_containerd_writer(StoreSettings(containerd_socket=containerd.socket), timing=PATIENT):
            pass


async def test_cancelled_while_writing(containerd: FakeContainerd) -> None:
    async with writing(containerd) as writer:
        ingest = await writer.begin(DIGEST)
        containerd.fault = Fault.STALLED_WRITE
        asked = asyncio.create_task(ingest.write(DATA))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await eventually(lambda: not containerd.ingests)
        await (await writer.begin(DIGEST)).aclose()
