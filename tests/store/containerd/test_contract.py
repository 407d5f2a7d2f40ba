from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.contracts.content_store import ContentStoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
