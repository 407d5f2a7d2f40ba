"""What the client asks, and what it makes of good answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from registryd.upstream.endpoint import Endpoint
from registryd.upstream.errors import (
    UpstreamUnreachable,
)
from tests.fakes import upstream as fakes
from tests.upstream.world import APP, IMAGE, LAYER, TAG, at, registry

if TYPE_CHECKING:
    from registryd.upstream.client import RegistryClient
    from tests.fakes.upstream import FakeUpstream


async def test_head_tells_what_the_manifest_is(client: RegistryClient, upstream: FakeUpstream) -> None:
    head = await client.head_manifest(at(upstream), APP, TAG)
    assert (head.media_type, head.digest, head.size) == (
        IMAGE.target.media_type,
        IMAGE.target.digest,
        IMAGE.target.size,
    )
    assert upstream.seen[-1].method == "HEAD"
    assert upstream.seen[-1].query == "ns=registry.example"


@pytest.mark.parametrize("challenge", ["none", "basic", "bearer"])
async def test_a_manifest_by_tag_and_by_digest(client: RegistryClient, challenge: str) -> None:
    async with registry(challenge) as upstream:
        by_tag = await client.get_manifest(at(upstream), APP, TAG)
        assert by_tag == await client.get_manifest(at(upstream), APP, IMAGE.target.digest)
        assert (by_tag.data, by_tag.digest) == (IMAGE.manifest, IMAGE.target.digest)


async def test_a_blob_from_an_offset(client: RegistryClient, upstream: FakeUpstream) -> None:
    for start in (0, 3):
        async with client.open_blob(at(upstream), APP, LAYER, start=start) as blob:
            assert (blob.size, blob.start) == (len(IMAGE.blobs[LAYER]), start)
            assert b"".join([chunk async for chunk in blob.chunks]) == IMAGE.blobs[LAYER][start:]


async def test_a_path_prefix_as_harbor_has_it(client: RegistryClient) -> None:
    async with registry("bearer", prefix="/v2/proxy-docker.io") as upstream:
        endpoint = Endpoint.parse(f"{upstream.url}/v2/proxy-docker.io", override_path=True)
        await client.head_manifest(endpoint, APP, TAG)
        assert upstream.seen[0].path == "/v2/proxy-docker.io/demo/app/manifests/v1"
        assert "scope=repository:proxy-docker.io/demo/app:pull" in upstream.seen[1].query


async def test_ping_takes_any_answer(client: RegistryClient, upstream: FakeUpstream) -> None:
    for status in (200, 401, 403, 404, 429):
        upstream.character = fakes.answering(status)
        await client.ping(at(upstream))
    upstream.character = fakes.answering(503)
    with pytest.raises(UpstreamUnreachable, match="503"):
        await client.ping(at(upstream))
