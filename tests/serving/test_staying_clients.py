"""Clients other than containerd: how they name a registry, and that no manifest leads them into a dead end.

podman, skopeo, crane, oras and Docker's classic store take whoever gives them a manifest for the registry itself, and
fail when it lacks the blobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.oci.descriptor import OCI_INDEX
from registryd.oci.platform import Platform
from registryd.oci.reference import Registry as RegistryName
from tests.fakes.images import OCI_LAYER, SampleImage, document_of, oci_image, raw_descriptor
from tests.fakes.sources import MemorySource
from tests.serving.test_registry import codes

if TYPE_CHECKING:
    from tests.serving.conftest import Registry

IMAGE = oci_image()
OTHER = oci_image(layers=(b"for other machines",))
LAYER = IMAGE.digest_of(OCI_LAYER)
OURS = Platform("linux", "amd64")

BY_TAG = "/v2/registry.example/demo/app/manifests/v1"
BY_DIGEST = f"/v2/registry.example/demo/app/manifests/{IMAGE.target.digest}"


def index_of(**images: SampleImage) -> SampleImage:
    """An index with an image for each architecture, and what BuildKit attests of the first; nothing but itself."""
    entries = [
        raw_descriptor(image.target, platform={"os": "linux", "architecture": architecture})
        for architecture, image in images.items()
    ]
    attested = oci_image(layers=(b"attestation",))
    entries.append(raw_descriptor(attested.target, platform={"os": "unknown", "architecture": "unknown"}))
    data, target = document_of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    blobs = {target.digest: data, **attested.blobs}
    return SampleImage(IMAGE.name, target, blobs, {target.digest: OCI_INDEX, **attested.media_types})


@pytest.fixture
def local(registry: Registry) -> MemorySource:
    registry.local = source = MemorySource(IMAGE)
    registry.names = [source]
    registry.platforms = (OURS,)
    return source


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_without_ns_a_manifest_is_given_only_with_its_blobs(
    registry: Registry, local: MemorySource, path: str, method: str
) -> None:
    async with registry.serving() as client:
        assert (await client.get(path, method=method)).status == 200
        local.remove(LAYER)
        assert (await client.get(path, method=method)).status == 404
        mirrored = path.replace("registry.example/", "") + "?ns=registry.example"
        assert (await client.get(mirrored, method=method)).status == 200
    assert local.left_open == 0
    missed = registry.counted(f'registryd_requests_total{{kind="manifest",method="{method}",outcome="miss"}}')
    assert missed == 1


async def test_the_refusal_says_what_is_missing(registry: Registry, local: MemorySource) -> None:
    local.remove(LAYER)
    async with registry.serving() as client:
        answer = await client.get(BY_TAG)
    assert codes(answer) == ["MANIFEST_UNKNOWN"]
    assert str(LAYER) in answer.body.decode()


async def test_a_peer_may_have_the_blobs(registry: Registry, local: MemorySource) -> None:
    local.remove(LAYER)
    registry.cluster = MemorySource(IMAGE)
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).status == 200


async def test_of_an_index_the_image_for_this_machine_is_enough(registry: Registry, local: MemorySource) -> None:
    local.add_image(index_of(arm64=OTHER, amd64=IMAGE))
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).headers["Content-Type"] == OCI_INDEX


@pytest.mark.parametrize("gone", [LAYER, IMAGE.target.digest])
async def test_an_index_without_the_image_for_this_machine_is_not_given(
    registry: Registry, local: MemorySource, gone: object
) -> None:
    local.add_image(index_of(amd64=IMAGE, arm64=OTHER))
    for digest, data in OTHER.blobs.items():
        local.add(digest, data, media_type=OTHER.media_types[digest])
    local.remove(gone)  # type: ignore[arg-type]
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).status == 404


async def test_an_index_for_other_machines_needs_one_of_them(registry: Registry, local: MemorySource) -> None:
    local.add_image(index_of(arm64=OTHER))
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).status == 404
        for digest, data in OTHER.blobs.items():
            local.add(digest, data, media_type=OTHER.media_types[digest])
        assert (await client.get(BY_TAG)).status == 200


async def test_an_index_of_thousands_costs_a_bounded_search(registry: Registry, local: MemorySource) -> None:
    entries = [raw_descriptor(oci_image(layers=(b"%d" % n,)).target) for n in range(2000)]
    data, target = document_of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    local.add_image(SampleImage(IMAGE.name, target, {target.digest: data}, {target.digest: OCI_INDEX}))
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).status == 404
    assert len(local.asked) < 200


async def test_an_index_that_leads_to_itself_ends(registry: Registry, local: MemorySource) -> None:
    # No document can name its own digest; a source that does not verify could be made to believe so.
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [raw_descriptor(IMAGE.target)]}
    )
    local.add(IMAGE.target.digest, data, media_type=OCI_INDEX)
    local.add_image(SampleImage(IMAGE.name, target, {target.digest: data}, {target.digest: OCI_INDEX}))
    async with registry.serving() as client:
        assert (await client.get(BY_TAG)).status == 404


# How a registry is named


async def test_the_host_may_stand_in_the_path_besides(registry: Registry, local: MemorySource) -> None:
    async with registry.serving() as client:
        answer = await client.get(f"{BY_TAG}?ns=registry.example")
    assert answer.body == IMAGE.manifest


async def test_oci_namespace_is_heeded_like_ns(registry: Registry, local: MemorySource) -> None:
    async with registry.serving() as client:
        answer = await client.get("/v2/demo/app/manifests/v1", OCI_Namespace="registry.example")
        assert answer.body == IMAGE.manifest
        wrong = await client.get("/v2/demo/app/manifests/v1", OCI_Namespace="not a host")
    assert (wrong.status, codes(wrong)) == (400, ["NAME_INVALID"])


async def test_who_names_no_registry_means_the_default_one(registry: Registry, local: MemorySource) -> None:
    async with registry.serving() as client:
        assert codes(await client.get("/v2/demo/app/manifests/v1")) == ["NAME_UNKNOWN"]
    registry.default = RegistryName("registry.example")
    async with registry.serving() as client:
        assert (await client.get("/v2/demo/app/manifests/v1")).body == IMAGE.manifest
        local.remove(LAYER)
        assert (await client.get("/v2/demo/app/manifests/v1")).status == 404
