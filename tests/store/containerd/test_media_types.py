"""Media types of content that no image leads to (yet): told by the content itself, and never guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from registryd.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from tests.fakes.images import OCI_CONFIG, OCI_LAYER, document_of, oci_image, oci_index, raw_descriptor

if TYPE_CHECKING:
    from tests.fakes.containerd import FakeContainerd
    from tests.store.containerd.conftest import Connect


@pytest.fixture(params=["files", "api"], autouse=True)
def way(request: pytest.FixtureRequest, containerd: FakeContainerd) -> str:
    if request.param == "api":
        containerd.told_root = None
    return str(request.param)


async def test_a_pull_that_is_under_way(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_index()
    for data in image.blobs.values():
        containerd.put_blob(data)
    async with connect() as store:
        # In the order of a pull: what each document says is known from then on.
        for digest in image.media_types:
            assert (await store.find(digest)).media_type == image.media_types[digest]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b'{"architecture": "amd64"}',
        b'{"manifests": 1}',
        b"\x1f\x8b a layer",
        b"[" * 5000,
        b'{"a":' * 5000,
        b"{" + b" " * MAX_MANIFEST_SIZE,
        json.dumps({"manifests": [], "config": {}, "layers": []}).encode(),
        b'{"manifests": [], "mediaType": "text/html; charset=utf-8\\r\\nx: y"}',
    ],
)
async def test_what_is_no_manifest_has_no_media_type(containerd: FakeContainerd, connect: Connect, data: bytes) -> None:
    digest = containerd.put_blob(data)
    async with connect() as store:
        assert (await store.find(digest)).media_type is None
        assert (await store.find(digest)).media_type is None


async def test_content_is_looked_at_once(containerd: FakeContainerd, connect: Connect, way: str) -> None:
    digest = containerd.put_blob(b'{"architecture": "amd64"}')
    async with connect() as store:
        for _ in range(3):
            await store.find(digest)
        assert containerd.calls["Read"] == (1 if way == "api" else 0)


async def test_an_index_cannot_say_what_another_image_is(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    for data in image.blobs.values():
        containerd.put_blob(data)
    lie = Descriptor("application/octet-stream", image.target.digest, image.target.size)
    data, target = document_of({"mediaType": OCI_INDEX, "manifests": [raw_descriptor(lie)]})
    containerd.put_blob(data)
    containerd.put_image("registry.example/liar:v1", target)
    async with connect() as store:
        assert (await store.find(image.target.digest)).media_type == OCI_MANIFEST


async def test_an_index_that_leads_to_itself_in_depth(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    for data in image.blobs.values():
        containerd.put_blob(data)
    target = image.target
    for _ in range(300):
        data, target = document_of({"mediaType": OCI_INDEX, "manifests": [raw_descriptor(target)]})
        containerd.put_blob(data)
    containerd.put_image("registry.example/deep:v1", target)
    async with connect() as store:
        assert (await store.find(target.digest)).media_type == OCI_INDEX
        assert (await store.find(image.digest_of(OCI_CONFIG))).media_type is None  # beyond what is walked
        await store.find(image.target.digest)
        assert (await store.find(image.digest_of(OCI_LAYER))).media_type == OCI_LAYER


async def test_content_of_another_algorithm(containerd: FakeContainerd, connect: Connect) -> None:
    image = oci_image()
    digest = containerd.put_blob(image.manifest, digest=Digest.of(image.manifest, algorithm="sha512"))
    async with connect() as store:
        assert (await store.find(digest)).media_type == OCI_MANIFEST
