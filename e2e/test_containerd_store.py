"""The containerd store on the real containerds: what every store must do, both ways to the bytes, and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest

from lab.containerd import running_containerd
from lab.images import ImageRecipe, make_image
from registryd.config.agent import StoreSettings
from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.oci.reference import TaggedName
from registryd.pb.containerd.images_pb2 import DeleteImageRequest, ListImagesRequest
from registryd.pb.containerd.images_pb2_grpc import ImagesStub
from registryd.store.containerd.connect import connect_containerd_store
from registryd.store.containerd.timing import Timing
from registryd.store.containerd.writer import open_containerd_writer
from tests.contracts.content_store import ContentStoreContract, read, until
from tests.fakes.images import oci_image, oci_index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.containerd import Containerd
    from lab.images import Image
    from lab.versions import Release
    from registryd.store.containerd.store import ContainerdStore
    from tests.fakes.images import SampleImage

pytestmark = [pytest.mark.every_series, pytest.mark.timeout(300)]

NOBODY = 65534
_LOOKS = 5
_BETWEEN_LOOKS_SECONDS = 0.1
# How long a containerd takes that shares its processors with other tests is not what these are about.
PATIENT = Timing(answer=30)
IN_K8S = (("containerd-namespace", "k8s.io"),)


@dataclass
class RealStock:
    """Images come and go over containerd's own API: ctr refuses half of what the contract tries."""

    store: ContainerdStore
    socket: Path

    async def put(self, image: SampleImage) -> None:
        async with open_containerd_writer(StoreSettings(containerd_socket=self.socket)) as writer:
            for digest, data in image.blobs.items():
                ingest = await writer.begin(digest, size=len(data))
                await ingest.write(data)
                await ingest.commit()
            await writer.name({image.name: image.target})

    async def remove(self, image: SampleImage) -> None:
        """All names of the image; CRI gives it some of its own, a moment after it came."""
        async with grpc.aio.insecure_channel(f"unix://{self.socket}") as channel:
            stub = ImagesStub(channel)
            looks_without = 0
            while looks_without < _LOOKS:
                looks_without += 1
                for present in (await stub.List(ListImagesRequest(), metadata=IN_K8S)).images:
                    if present.target.digest == str(image.target.digest):
                        await stub.Delete(DeleteImageRequest(name=present.name, sync=True), metadata=IN_K8S)
                        looks_without = 0
                await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)


@pytest.fixture
async def containerd(release: Release, folder: Path) -> AsyncIterator[Containerd]:
    async with running_containerd(release, folder / "c") as containerd:
        yield containerd


@asynccontextmanager
async def connected(containerd: Containerd, *namespaces: str) -> AsyncIterator[ContainerdStore]:
    settings = StoreSettings(containerd_socket=containerd.places.socket, namespaces=namespaces or ("k8s.io",))
    async with connect_containerd_store(settings, timing=PATIENT) as store:
        await store.wait_ready()
        yield store


class TestBytesFromFiles(ContentStoreContract):
    @pytest.fixture
    async def stock(self, containerd: Containerd) -> AsyncIterator[RealStock]:
        async with connected(containerd) as store:
            yield RealStock(store, containerd.places.socket)


class TestBytesThroughTheApi(ContentStoreContract):
    """As an agent that may use the socket but not look into containerd's root."""

    @pytest.fixture
    async def stock(self, containerd: Containerd, folder: Path) -> AsyncIterator[RealStock]:
        for path, mode in ((folder, 0o711), (containerd.places.folder, 0o711), (containerd.places.socket, 0o666)):
            path.chmod(mode)
        os.seteuid(NOBODY)
        try:
            async with connected(containerd) as store:
                yield RealStock(store, containerd.places.socket)
        finally:
            os.seteuid(0)


async def test_an_imported_archive_is_shared(containerd: Containerd, image: Image) -> None:
    async with connected(containerd) as store:
        started = time.monotonic()
        await containerd.import_archive(image.archive(), "registry.example/demo/app")
        imported = time.monotonic()
        name = TaggedName.parse("registry.example/demo/app:v1")
        await until(lambda: _is_named(store, name))
        later = time.monotonic() - imported
        print(f"{containerd.release}: imported in {imported - started:.2f} s, named {later:.3f} s later")
        [named] = await store.resolve(name)
        assert str(named.target.digest) == image.root.digest
        for blob in (*image.documents, *image.blobs):
            content = await store.find(Digest.parse(blob.digest))
            assert (content.size, content.media_type) == (blob.size, blob.media_type)


async def test_a_restart_is_survived(containerd: Containerd, image: Image) -> None:
    await containerd.import_archive(image.archive(), "registry.example/demo/app")
    layer = image.local.layers[0]
    async with connected(containerd) as store:
        opened = await store.open(Digest.parse(layer.digest), Span.whole)
        await containerd.kill()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.find(Digest.parse(image.root.digest))
        print(f"{containerd.release}: unavailable after {(time.monotonic() - started) * 1000:.1f} ms")
        await opened.body.aclose()
        await containerd.start()
        started = time.monotonic()
        async with asyncio.timeout(30):
            await _wait_answers(store)
        print(f"{containerd.release}: back {time.monotonic() - started:.3f} s after it was ready")
        assert len(await read(store, Digest.parse(layer.digest), Span.whole)) == layer.size


async def test_namespaces_are_kept_apart(containerd: Containerd, image: Image, folder: Path) -> None:
    other = make_image(folder / "other", ImageRecipe(seed="other"))
    await containerd.import_archive(other.archive(), "registry.example/demo/app")
    await containerd.ctr(
        *("images", "import", "--all-platforms", "--no-unpack", "--base-name", "registry.example/secret"),
        str(image.archive()),
        namespace="moby",
    )
    digest, name = Digest.parse(image.root.digest), TaggedName.parse("registry.example/secret:v1")
    async with connected(containerd) as store:
        assert containerd.has_blob(str(digest))
        with pytest.raises(ContentNotFound):
            await store.find(digest)
        assert not await store.resolve(name)
    async with connected(containerd, "k8s.io", "moby") as store:
        assert (await store.find(digest)).size == image.root.size
        assert [str(named.target.digest) for named in await store.resolve(name)] == [image.root.digest]


async def test_what_is_written_is_kept_while_it_is_leased_or_named(containerd: Containerd) -> None:
    named, unnamed = oci_index(), oci_image(layers=(b"of no name",))
    async with connected(containerd) as store:
        stock = RealStock(store, containerd.places.socket)
        async with open_containerd_writer(StoreSettings(containerd_socket=containerd.places.socket)) as writer:
            for digest, data in unnamed.blobs.items():
                ingest = await writer.begin(digest)
                await ingest.write(data)
                await ingest.commit()
            await stock.put(named)
            await _collect_garbage(containerd)
            assert all(containerd.has_blob(str(digest)) for digest in (*named.blobs, *unnamed.blobs))
        await _collect_garbage(containerd)
        assert all(containerd.has_blob(str(digest)) for digest in named.blobs)
        assert not any(containerd.has_blob(str(digest)) for digest in unnamed.blobs.keys() - named.blobs.keys())


async def test_what_a_question_costs(containerd: Containerd) -> None:
    """Printed; asserted only that a miss does not cost what a question to containerd costs."""
    image = oci_image()
    async with connected(containerd) as store:
        await RealStock(store, containerd.places.socket).put(image)
        await until(lambda: _is_named(store, image.name))
        known, unknown = image.target.digest, Digest.of(b"nobody has this")
        hit, miss = await _microseconds(store, known), await _microseconds(store, unknown)
        store._presence._recent.clear()
        started = time.perf_counter()
        await store.find(known)
        asked = (time.perf_counter() - started) * 1e6
        print(f"{containerd.release}: miss {miss:.1f} µs, hit {hit:.1f} µs, first hit {asked:.0f} µs")
        assert miss < asked


async def _collect_garbage(containerd: Containerd) -> None:
    """Delete something, and wait until what nothing refers to is collected."""
    await containerd.ctr("leases", "create", "--id", "gc")
    await containerd.ctr("leases", "rm", "--sync", "gc")


async def _wait_answers(store: ContainerdStore) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):
            return await store.check()
        await asyncio.sleep(0.01)


async def _is_named(store: ContainerdStore, name: TaggedName) -> bool:
    return bool(await store.resolve(name))


async def _microseconds(store: ContainerdStore, digest: Digest, *, times: int = 500) -> float:
    """Of half of the questions, at most: others may have taken the processor meanwhile, for longer than an answer."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        with contextlib.suppress(ContentNotFound):
            await store.find(digest)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6
