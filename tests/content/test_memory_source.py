"""The fake that stands for a store keeps the store's contract, so that tests built on it mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contracts.content_store import ContentStoreContract
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from tests.fakes.images import SampleImage


class MemoryStock:
    def __init__(self) -> None:
        self.store = MemorySource()

    async def put(self, image: SampleImage) -> None:
        self.store.add_image(image)

    async def remove(self, image: SampleImage) -> None:
        for digest in image.blobs:
            self.store.remove(digest)
        self.store.forget(image.name)


class TestMemorySource(ContentStoreContract):
    @pytest.fixture
    def stock(self) -> MemoryStock:
        return MemoryStock()
