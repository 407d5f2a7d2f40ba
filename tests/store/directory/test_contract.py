"""The directory store keeps the contract of stores, filled by itself and by another tool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from registryd.store.directory.store import DirectoryStore, open_directory_store
from tests.contracts.content_store import ContentStoreContract
from tests.contracts.growing_content import GrowingContentContract
from tests.fakes.layouts import forget, write_image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.content.writer import Ingest
    from registryd.oci.digest import Digest
    from tests.fakes.images import SampleImage


class OwnStock:
    """Images come in through the store's own writer."""

    def __init__(self, root: Path, store: DirectoryStore) -> None:
        self.root = root
        self.store = store

    async def put(self, image: SampleImage) -> None:
        for digest, data in image.blobs.items():
            ingest = await self.store.begin(digest, size=len(data))
            await ingest.write(data)
            await ingest.commit()
        await self.store.name({image.name: image.target})

    async def remove(self, image: SampleImage) -> None:
        forget(self.root, image)


class ForeignStock(OwnStock):
    """Images come in the way other tools write them: blobs, then index.json in place, no lock."""

    async def put(self, image: SampleImage) -> None:
        write_image(self.root, image)


class TestOwnWriter(ContentStoreContract):
    @pytest.fixture
    async def stock(self, tmp_path: Path) -> AsyncIterator[OwnStock]:
        async with open_directory_store(tmp_path / "store") as store:
            yield OwnStock(tmp_path / "store", store)


class TestForeignWriter(ContentStoreContract):
    @pytest.fixture
    async def stock(self, tmp_path: Path) -> AsyncIterator[ForeignStock]:
        async with open_directory_store(tmp_path) as store:
            assert json.loads((tmp_path / "index.json").read_bytes())["manifests"] == []
            yield ForeignStock(tmp_path, store)


class OwnDock:
    """Content arrives through the store's own writer."""

    def __init__(self, store: DirectoryStore) -> None:
        self.store = store

    async def begin(self, digest: Digest, *, size: int | None) -> Ingest:
        return await self.store.begin(digest, size=size)


class TestGrowingIngests(GrowingContentContract):
    @pytest.fixture
    async def dock(self, tmp_path: Path) -> AsyncIterator[OwnDock]:
        async with open_directory_store(tmp_path / "store") as store:
            yield OwnDock(store)
