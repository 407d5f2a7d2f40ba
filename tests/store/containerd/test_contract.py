from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.contracts.content_store import ContentStoreContract
from tests.contracts.growing_content import GrowingContentContract
from tests.fakes.containerd_ingests import FakeIngest
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.oci.digest import Digest
    from registryd.store.containerd.store import ContainerdStore
    from tests.fakes.containerd import FakeContainerd
    from tests.fakes.images import SampleImage
    from tests.store.containerd.conftest import Connect


@dataclass
class FakeStock:
    store: ContainerdStore
    containerd: FakeContainerd

    async def put(self, image: SampleImage) -> None:
        self.containerd.put(image)

    async def remove(self, image: SampleImage) -> None:
        self.containerd.remove(image)


class TestBytesFromFiles(ContentStoreContract):
    @pytest.fixture
    async def stock(self, containerd: FakeContainerd, connect: Connect) -> AsyncIterator[FakeStock]:
        async with connect() as store:
            yield FakeStock(store, containerd)


class TestBytesThroughTheApi(ContentStoreContract):
    @pytest.fixture
    async def stock(self, containerd: FakeContainerd, connect: Connect) -> AsyncIterator[FakeStock]:
        containerd.told_root = None
        async with connect() as store:
            yield FakeStock(store, containerd)


@dataclass
class FakeArrival:
    ingest: FakeIngest
    is_over: bool = False

    async def write(self, data: bytes) -> None:
        self.ingest.write(data)

    async def commit(self) -> None:
        self.ingest.commit()
        self.is_over = True

    async def aclose(self) -> None:
        if not self.is_over:
            self.ingest.abort()


@dataclass
class FakeDock:
    store: ContainerdStore
    containerd: FakeContainerd

    async def begin(self, digest: Digest, *, size: int | None) -> FakeArrival:
        return FakeArrival(FakeIngest(self.containerd, digest, size))


class TestGrowingIngests(GrowingContentContract):
    @pytest.fixture
    async def dock(self, containerd: FakeContainerd, connect: Connect) -> AsyncIterator[FakeDock]:
        containerd.put(oci_image())
        async with connect() as store:
            yield FakeDock(store, containerd)


class TestGrowingIngestsOfAnEmptyContainerd(GrowingContentContract):
    """There is nothing yet to prove by where its files are."""

    @pytest.fixture
    async def dock(self, containerd: FakeContainerd, connect: Connect) -> AsyncIterator[FakeDock]:
        async with connect() as store:
            yield FakeDock(store, containerd)
