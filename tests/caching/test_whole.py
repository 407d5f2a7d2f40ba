"""Images that are stored as a whole because their client prefers so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.config.agent import AuthorizationMode, AuthorizationSettings
from tests.caching.test_naming import add_index
from tests.fakes.images import OCI_LAYER, document_of, oci_image, raw_descriptor, sample_bytes
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from tests.caching.world import Answer, Client, World

IMAGE = oci_image()
BY_TAG = "demo/app/manifests/v1"


async def prefer(client: Client, path: str = BY_TAG, preference: str = "whole", **headers: str) -> Answer:
    return await client.get(path, Prefer=preference, **headers)


async def test_all_of_a_small_image_is_stored_by_one_request(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        answer = await prefer(client)
        size = sum(map(len, IMAGE.blobs.values()))
        assert answer.body == IMAGE.manifest
        assert answer.headers["Preference-Applied"] == f"whole; pieces={len(IMAGE.blobs)}; bytes={size}"
        assert world.stored() == {digest.encoded for digest in IMAGE.blobs}
        asked = len(world.upstream.seen)
        world.upstream.character = answering(500)
        again = await prefer(client, Cache_Control="only-if-cached")
        assert again.headers["Preference-Applied"] == answer.headers["Preference-Applied"]
        assert len(world.upstream.seen) == asked


async def test_of_an_index_it_is_what_was_named(world: World) -> None:
    add_index(world.upstream)
    async with world.caching() as client:
        # Its entries do not say what they are for, so they are for whatever it may be.
        answer = await prefer(client, preference='whole="linux/amd64"')
        assert answer.headers["Preference-Applied"].startswith("whole; pieces=6;")


async def test_a_platform_that_it_is_not_for_is_left_to_who_asks(world: World) -> None:
    entry = raw_descriptor(IMAGE.target, platform={"os": "linux", "architecture": "arm64"})
    data, target = document_of(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    )
    world.upstream.add("demo/app", IMAGE)
    world.upstream.manifests["demo/app", "v1"] = (target.media_type, data)
    async with world.caching() as client:
        assert "Preference-Applied" not in (await prefer(client, preference='whole="linux/amd64"')).headers
        assert "Preference-Applied" in (await prefer(client, preference='whole="linux/arm64"')).headers


async def test_what_is_large_is_left_to_requests_of_its_own(world: World) -> None:
    large = oci_image(layers=(sample_bytes(200_000),))
    world.upstream.add("demo/app", large)
    async with world.caching() as client:
        answer = await prefer(client)
        assert answer.body == large.manifest
        assert "Preference-Applied" not in answer.headers
        assert not world.blob_gets()


@pytest.mark.parametrize("lacking", ["layer", "config", "wrong"])
async def test_what_cannot_be_had_is_not_said_to_be_whole(world: World, lacking: str) -> None:
    world.upstream.add("demo/app", IMAGE)
    layer = str(IMAGE.digest_of(OCI_LAYER))
    if lacking == "wrong":
        world.upstream.blobs[layer] = b"layer 0ne"
    else:
        del world.upstream.blobs[layer if lacking == "layer" else str(list(IMAGE.blobs)[1])]
    async with world.caching() as client:
        answer = await prefer(client)
        assert (answer.status, answer.body) == (200, IMAGE.manifest)
        assert "Preference-Applied" not in answer.headers


async def test_nothing_is_brought_for_who_wants_what_is_here(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        await client.get(BY_TAG)
        answer = await prefer(client, Cache_Control="only-if-cached")
        assert "Preference-Applied" not in answer.headers
        assert not world.blob_gets()


async def test_who_may_not_have_it_has_nothing_brought(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    world.authorization = AuthorizationSettings(mode=AuthorizationMode.UPSTREAM)
    async with world.caching() as client:
        assert (await prefer(client)).status == 404
        assert world.upstream.seen == []
