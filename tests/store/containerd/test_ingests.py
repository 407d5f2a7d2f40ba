from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from tests.fakes.containerd_ingests import FakeIngest
from tests.fakes.images import oci_image

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect

DIGEST = Digest.of(b"what arrives")


@pytest.mark.parametrize("kind", ["layer", "config", "manifest", "index", "unknown"])
async def test_whatever_a_pull_receives_is_found(containerd: FakeContainerd, connect: Connect, kind: str) -> None:
    FakeIngest(containerd, DIGEST, 12, kind=kind).write(b"what")
    async with connect() as store:
        content = await store.growing(DIGEST)
    assert (content.available, content.size) == (4, 12)


async def test_what_somebody_else_writes_is_not_looked_at(containerd: FakeContainerd, connect: Connect) -> None:
    FakeIngest(containerd, DIGEST, 12, kind="somebodys").write(b"what")
    async with connect() as store:
        with pytest.raises(ContentNotFound):
            await store.growing(DIGEST)


async def test_other_namespaces_are_not_shared(containerd: FakeContainerd, connect: Connect) -> None:
    FakeIngest(containerd, DIGEST, 12, namespace="moby").write(b"what")
    async with connect() as store:
        with pytest.raises(ContentNotFound):
            await store.growing(DIGEST)
    async with connect("k8s.io", "moby") as store:
        assert (await store.growing(DIGEST)).available == 4


async def test_an_ingest_of_nothing_known_is_found_in_the_configured_root(
    containerd: FakeContainerd, connect: Connect
) -> None:
    containerd.told_root = None
    containerd.root = containerd.socket.parent / "configured" / "io.containerd.content.v1.content"
    FakeIngest(containerd, DIGEST, 12).write(b"what")
    async with connect() as store:
        assert (await store.growing(DIGEST)).available == 4


async def test_where_files_cannot_be_read_that_is_said(containerd: FakeContainerd, connect: Connect) -> None:
    containerd.put(oci_image())
    containerd.told_root = None
    FakeIngest(containerd, DIGEST, 12).write(b"what")
    async with connect() as store:
        with pytest.raises(StoreUnavailable):
            await store.growing(DIGEST)


@pytest.mark.parametrize("note", [b"", b"-1", b"12 apples"])
async def test_a_size_that_is_none_is_not_believed(containerd: FakeContainerd, connect: Connect, note: bytes) -> None:
    ingest = FakeIngest(containerd, DIGEST, 12)
    (ingest.folder / "total").write_bytes(note)
    async with connect() as store:
        with pytest.raises(StoreUnavailable):
            await store.growing(DIGEST)


@pytest.mark.parametrize("part", ["data", "total"])
async def test_links_are_not_followed(containerd: FakeContainerd, connect: Connect, part: str) -> None:
    ingest = FakeIngest(containerd, DIGEST, 12)
    path = ingest.folder / part
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    async with connect() as store:
        with pytest.raises(StoreUnavailable):
            await store.growing(DIGEST)


async def test_the_first_content_of_an_empty_containerd_shows_where_its_files_are(
    containerd: FakeContainerd, connect: Connect
) -> None:
    async with connect() as store:
        digest = containerd.put_blob(b"the first")
        assert not store._route.is_direct
        await (await store.open(digest, Span.whole)).body.aclose()
        assert list(store._route.roots) == [containerd.root]
