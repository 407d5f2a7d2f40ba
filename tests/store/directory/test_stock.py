"""What a directory says that it has, and when it says that this has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.oci.digest import Digest
from tests.fakes.images import sample_bytes
from tests.fakes.layouts import blob_path

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.store.directory.store import DirectoryStore

DATA = sample_bytes(1000)
DIGEST = Digest.of(DATA)


async def changed(store: DirectoryStore) -> None:
    async with asyncio.timeout(30):
        await store.wait_changed()


async def test_what_another_program_puts_there_is_told_and_what_it_removes(root: Path, store: DirectoryStore) -> None:
    stock = await store.stock()
    assert not stock.held
    assert stock.is_complete
    blob = blob_path(root, DIGEST)
    (root / "new").write_bytes(DATA)
    (root / "new").rename(blob)
    await changed(store)
    assert (await store.stock()).held == {DIGEST}
    blob.unlink()
    await changed(store)
    assert not (await store.stock()).held


@pytest.mark.parametrize("size", [len(DATA), None])
async def test_what_is_received_is_told_as_it_begins_and_when_it_is_whole(
    store: DirectoryStore, size: int | None
) -> None:
    await store.stock()
    ingest = await store.begin(DIGEST, size=size)
    await changed(store)
    # Without a size it is not given to others while it grows.
    assert (await store.stock()).arriving == (frozenset() if size is None else {DIGEST})
    await ingest.write(DATA)
    await ingest.commit()
    await ingest.aclose()
    await changed(store)
    stock = await store.stock()
    assert stock.held == {DIGEST}
    assert not stock.arriving


async def test_what_is_given_up_is_told(store: DirectoryStore) -> None:
    ingest = await store.begin(DIGEST, size=len(DATA))
    await changed(store)
    assert (await store.stock()).arriving == {DIGEST}
    await ingest.aclose()
    await changed(store)
    assert not (await store.stock()).arriving


async def test_what_is_withdrawn_is_told(root: Path, store: DirectoryStore) -> None:
    blob_path(root, DIGEST).write_bytes(DATA)
    assert (await store.stock()).held == {DIGEST}
    await store.withdraw(DIGEST)
    await changed(store)
    assert not (await store.stock()).held
