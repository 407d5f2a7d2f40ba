"""Clients that take the cache for the registry itself: no manifest is given that leads them into a dead end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import RegistrySettings
from registryd.oci.descriptor import OCI_INDEX
from tests.caching.world import REGISTRY
from tests.fakes.images import OCI_LAYER, document_of, oci_image, raw_descriptor
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from tests.caching.world import Client, World
    from tests.fakes.images import SampleImage

IMAGE = oci_image()
LAYER = IMAGE.digest_of(OCI_LAYER)
BY_TAG, BY_DIGEST = "demo/app/manifests/v1", f"demo/app/manifests/{IMAGE.target.digest}"

AWAY = answering(503, b"the registry is away")


async def pull(client: Client, image: SampleImage = IMAGE) -> None:
    """All of it, as containerd does."""
    assert (await client.get(BY_TAG)).status == 200
    for digest in image.blobs:
        if digest != image.target.digest:
            assert (await client.get(f"demo/app/blobs/{digest}")).status == 200


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_in_an_outage_a_manifest_is_given_only_with_its_blobs(world: World, path: str, method: str) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get(BY_TAG)).status == 200
        world.upstream.character = AWAY
        staying = await client.get(f"{REGISTRY}/{path}", method=method, ns=None)
        assert staying.status == 503
        assert (await client.get(path, method=method)).status == 200
        world.upstream.character = None
        await pull(client)
        world.upstream.character = AWAY
        assert (await client.get(f"{REGISTRY}/{path}", method=method, ns=None)).status == 200


async def test_the_reason_is_the_layer_that_is_lacking(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get(BY_TAG)).status == 200
        world.upstream.character = answering(503, b"the registry is away", Retry_After="7")
        answer = await client.get(f"{REGISTRY}/{BY_DIGEST}", ns=None)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
    [error] = json.loads(answer.body)["errors"]
    lacking = next(digest for digest in IMAGE.blobs if f"{digest}, which belongs to it" in error["message"])
    assert lacking != IMAGE.target.digest
    assert "is not here, and cannot be had: http://127.0.0.1" in error["message"]


async def test_a_registry_that_has_lost_a_blob_is_not_answered_for(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get(BY_TAG)).status == 200
        del world.upstream.blobs[str(LAYER)]
        for digest in set(map(str, IMAGE.blobs)) & set(world.upstream.blobs) - {str(IMAGE.target.digest)}:
            assert (await client.get(f"demo/app/blobs/{digest}")).status == 200
        answer = await client.get(f"{REGISTRY}/{BY_DIGEST}", ns=None)
    assert answer.status == 404
    assert f"{LAYER}, which belongs to it" in json.loads(answer.body)["errors"][0]["message"]


async def test_a_first_pull_costs_nothing_more(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get(f"{REGISTRY}/{BY_TAG}", ns=None)).status == 200
        assert [seen.method for seen in world.upstream.seen] == ["GET"]
        await pull(client)
        world.upstream.seen.clear()
        assert (await client.get(f"{REGISTRY}/{BY_DIGEST}", ns=None)).status == 200
    assert world.upstream.seen == []


async def test_of_an_index_one_image_is_enough_in_an_outage(world: World) -> None:
    other = oci_image(layers=(b"for other machines",))
    entries = [
        raw_descriptor(other.target, platform={"os": "linux", "architecture": "arm64"}),
        raw_descriptor(IMAGE.target, platform={"os": "linux", "architecture": "amd64"}),
    ]
    data, target = document_of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    world.upstream.add("demo/app", IMAGE)
    world.upstream.manifests["demo/app", "multi"] = (OCI_INDEX, data)
    by_tag = f"{REGISTRY}/demo/app/manifests/multi"
    async with world.caching() as client:
        assert (await client.get("demo/app/manifests/multi")).status == 200
        world.upstream.character = AWAY
        assert (await client.get(by_tag, ns=None)).status == 503
        world.upstream.character = None
        await pull(client)
        world.upstream.character = AWAY
        answer = await client.get(by_tag, ns=None)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, str(target.digest))


async def test_what_is_asked_of_the_store_alone_is_whole_or_not_there(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get(BY_TAG)).status == 200
        stored = {"Cache_Control": "only-if-cached"}
        assert (await client.get(f"{REGISTRY}/{BY_TAG}", ns=None, **stored)).status == 404
        assert (await client.get(BY_TAG, **stored)).status == 200
        await pull(client)
        assert (await client.get(f"{REGISTRY}/{BY_TAG}", ns=None, **stored)).status == 200


async def test_the_default_registry_is_a_setting_of_the_cache_too(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    world.registry = RegistrySettings(default=REGISTRY)
    async with world.caching() as client:
        assert (await client.get(BY_TAG, ns=None)).body == IMAGE.manifest


async def test_several_ranges_are_given_of_what_is_stored(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    path = f"demo/app/blobs/{LAYER}"
    async with world.caching() as client:
        asked = {"Range": "bytes=0-1,4-5"}
        assert (await client.get(path, **asked)).status == 400
        assert not world.blob_gets()
        await pull(client)
        answer = await client.get(path, **asked)
    assert answer.status == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert answer.cache_status == "registryd; hit"
