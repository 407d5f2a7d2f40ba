"""What the store says that it has: nothing that peers could find may be missing where it says that it is all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from tests.fakes.containerd_ingests import FakeIngest
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from registryd.store.containerd.store import ContainerdStore
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect

IMAGE = oci_image()
DATA = b"what arrives"
DIGEST = Digest.of(DATA)


async def changed(store: ContainerdStore) -> None:
    async with asyncio.timeout(30):
        await store.wait_changed()


@pytest.fixture
def stocked(containerd: FakeContainerd) -> FakeContainerd:
    """One that has an image, and has received before."""
    containerd.put(IMAGE)
    (containerd.root / "ingest").mkdir()
    return containerd


async def test_what_images_consist_of_is_all_there_is(stocked: FakeContainerd, connect: Connect) -> None:
    async with connect() as store:
        stock = await store.stock()
    assert stock.held == {Digest.parse(digest) for digest in stocked.content["k8s.io"]}
    assert not stock.arriving
    assert stock.is_complete


async def test_content_of_no_image_is_there_as_soon_as_it_is_found(stocked: FakeContainerd, connect: Connect) -> None:
    async with connect() as store:
        before = await store.stock()
        ingest = FakeIngest(stocked, DIGEST, len(DATA))
        ingest.write(DATA)
        ingest.commit()
        await changed(store)
        await store.find(DIGEST)
        assert (await store.stock()).held - before.held == {DIGEST}
        stocked.path(DIGEST).unlink()
        await changed(store)
        assert (await store.stock()).held == before.held


async def test_what_another_namespace_has_may_be_shared_tomorrow(stocked: FakeContainerd, connect: Connect) -> None:
    ingest = FakeIngest(stocked, DIGEST, len(DATA), namespace="moby")
    ingest.commit()
    async with connect() as store:
        with pytest.raises(ContentNotFound):
            await store.find(DIGEST)
        assert DIGEST in (await store.stock()).held


@pytest.mark.parametrize("kind", ["layer", "config", "manifest", "index", "unknown"])
async def test_what_is_arriving_is_there_while_it_is_found(
    stocked: FakeContainerd, connect: Connect, kind: str
) -> None:
    async with connect() as store:
        await store.stock()
        ingest = FakeIngest(stocked, DIGEST, len(DATA), kind=kind)
        await changed(store)
        await store.growing(DIGEST)
        assert (await store.stock()).arriving == {DIGEST}
        ingest.abort()
        await changed(store)
        assert not (await store.stock()).arriving


async def test_what_arrives_for_others_or_without_a_digest_is_not(stocked: FakeContainerd, connect: Connect) -> None:
    FakeIngest(stocked, DIGEST, 12, namespace="moby")
    FakeIngest(stocked, DIGEST, 12, kind="somebodys")
    nameless = FakeIngest(stocked, Digest.of(b"another"), 12)
    (nameless.folder / "ref").unlink()
    async with connect() as store:
        stock = await store.stock()
    assert not stock.arriving
    assert stock.is_complete


async def test_where_files_cannot_be_read_there_may_be_more(stocked: FakeContainerd, connect: Connect) -> None:
    stocked.told_root = None
    async with connect() as store:
        stock = await store.stock()
        assert {Digest.parse(digest) for digest in stocked.content["k8s.io"]} <= stock.held
        assert not stock.is_complete


async def test_a_node_that_has_nothing_yet_promises_nothing(connect: Connect) -> None:
    async with connect() as store:
        stock = await store.stock()
    assert not stock.held
    assert not stock.is_complete


async def test_before_images_are_listed_nothing_can_be_said(connect: Connect) -> None:
    async with connect(ready=False) as store:
        with pytest.raises(StoreUnavailable):
            await store.stock()


async def test_a_new_image_is_told_where_files_cannot_be_read(stocked: FakeContainerd, connect: Connect) -> None:
    stocked.told_root = None
    async with connect() as store:
        await changed(store)
        other = oci_image(name="docker.io/library/other:1")
        stocked.put(other)
        await changed(store)
        assert {Digest.parse(digest) for digest in stocked.content["k8s.io"]} <= (await store.stock()).held
