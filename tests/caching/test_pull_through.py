"""What is not here is fetched, once, sent while it arrives, and here from then on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.caching.patience import CachePatience
from registryd.oci.digest import Digest
from tests.caching.world import World, until
from tests.fakes.images import OCI_CONFIG, OCI_LAYER, oci_image, oci_index, sample_bytes
from tests.fakes.upstream import answering

if TYPE_CHECKING:
    from tests.fakes.upstream import Character

IMAGE = oci_image()
LARGE = sample_bytes(3_000_000)
LARGE_DIGEST = Digest.of(LARGE)


def slow(data: bytes, gate: asyncio.Event, *, first: int = 100_000) -> Character:
    """Sends the first bytes, the rest when the gate is opened."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        if request.method == "GET":
            await response.write(data[start : start + first])
            await gate.wait()
            await response.write(data[start + first :])
        return response

    return answer


async def test_a_whole_image_is_fetched_once_and_then_served_without_the_upstream(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    paths = [f"demo/app/manifests/{IMAGE.target.digest}", *(f"demo/app/blobs/{digest}" for digest in IMAGE.blobs)]
    async with world.caching() as client:
        by_tag = await client.get("demo/app/manifests/v1")
        assert (by_tag.status, by_tag.body) == (200, IMAGE.manifest)
        assert by_tag.cache_status == "registryd; fwd=miss; stored"
        for _ in range(2):
            for path in paths:
                answer = await client.get(path)
                assert Digest.of(answer.body) in IMAGE.blobs
    assert world.stored() == {digest.encoded for digest in IMAGE.blobs}
    assert world.requests("GET", "manifests") == 1
    assert sorted(world.blob_gets()) == sorted(
        f"/v2/demo/app/blobs/{digest}" for digest in IMAGE.blobs if digest != IMAGE.target.digest
    )


async def test_the_first_component_of_the_path_names_the_registry(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with world.caching() as client:
        assert (await client.get("registry.example/demo/app/manifests/v1", ns=None)).body == IMAGE.manifest


async def test_a_registry_that_is_not_allowed_is_not_asked(world: World) -> None:
    async with world.caching() as client:
        answer = await client.get("demo/app/manifests/v1", ns="other.example")
    assert (answer.status, world.upstream.seen) == (404, [])
    assert b"not among the registries" in answer.body


async def test_only_what_was_asked_for_is_fetched(world: World) -> None:
    index = oci_index()
    world.upstream.add("demo/multi", index)
    async with world.caching() as client:
        assert (await client.get("demo/multi/manifests/v1")).status == 200
    assert world.stored() == {index.target.digest.encoded}


async def test_a_head_fetches_nothing(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    layer = IMAGE.digest_of(OCI_LAYER)
    async with world.caching() as client:
        by_tag = await client.head("demo/app/manifests/v1")
        by_digest = await client.head(f"demo/app/manifests/{IMAGE.target.digest}")
        blob = await client.head(f"demo/app/blobs/{layer}")
    for answer in (by_tag, by_digest):
        assert answer.headers["Docker-Content-Digest"] == str(IMAGE.target.digest)
        assert answer.headers["Content-Type"] == IMAGE.target.media_type
        assert answer.headers["Content-Length"] == str(IMAGE.target.size)
    assert blob.headers["Content-Length"] == str(len(IMAGE.blobs[layer]))
    assert {seen.method for seen in world.upstream.seen} == {"HEAD"}


async def test_a_blob_that_is_a_config_has_its_type(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    config = IMAGE.digest_of(OCI_CONFIG)
    async with world.caching() as client:
        await client.get("demo/app/manifests/v1")
        await client.get(f"demo/app/blobs/{config}")
        assert (await client.get(f"demo/app/blobs/{config}")).headers["Content-Type"] == OCI_CONFIG


async def test_fifty_at_once_cost_the_upstream_one_of_each(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    world.upstream.blobs[str(LARGE_DIGEST)] = LARGE

    async with world.caching() as client:

        async def pull() -> bytes:
            assert (await client.head("demo/app/manifests/v1")).status == 200
            assert (await client.get(f"demo/app/manifests/{IMAGE.target.digest}")).status == 200
            return (await client.get(f"demo/app/blobs/{LARGE_DIGEST}")).body

        bodies = await asyncio.gather(*(pull() for _ in range(50)))
    assert all(body == LARGE for body in bodies)
    assert world.requests("GET", "manifests") == 1
    assert len(world.blob_gets()) == 1


async def test_bytes_are_sent_on_while_the_rest_is_awaited(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.character = slow(LARGE, gate)
    async with world.caching() as client:
        readers = [asyncio.create_task(client.get(f"demo/app/blobs/{LARGE_DIGEST}")) for _ in range(3)]
        early = await client.get(f"demo/app/blobs/{LARGE_DIGEST}", Range="bytes=10-99")
        assert (early.status, early.body) == (206, LARGE[10:100])
        gate.set()
        late = await client.get(f"demo/app/blobs/{LARGE_DIGEST}", Range="bytes=2999990-")
        assert late.body == LARGE[2999990:]
        assert [(await reader).body == LARGE for reader in readers] == [True] * 3
    assert len(world.blob_gets()) == 1


async def test_a_range_far_ahead_is_fetched_by_itself_in_the_end(world: World) -> None:
    world.patience = CachePatience(ranges=0.05)
    gate = asyncio.Event()
    world.upstream.character = slow(LARGE, gate)
    async with world.caching() as client:
        reader = asyncio.create_task(client.get(f"demo/app/blobs/{LARGE_DIGEST}"))
        answer = await client.get(f"demo/app/blobs/{LARGE_DIGEST}", Range="bytes=2950000-2950009")
        assert answer.body == LARGE[2950000:2950010]
        gate.set()
        assert (await reader).body == LARGE
    assert len(world.blob_gets()) == 2


async def test_what_nobody_reads_any_more_is_given_up(world: World) -> None:
    world.patience = CachePatience(unread=0.05)
    gate = asyncio.Event()
    world.upstream.character = slow(LARGE, gate)
    async with world.caching() as client:
        reader = asyncio.create_task(client.get(f"demo/app/blobs/{LARGE_DIGEST}"))
        await until(lambda: list(world.root.glob("ingest/*/sha256-*")))
        reader.cancel()
        await until(lambda: not list(world.root.glob("ingest/*/sha256-*")))
    assert world.stored() == set()


async def test_empty_content(world: World) -> None:
    empty = Digest.of(b"")
    world.upstream.blobs[str(empty)] = b""
    async with world.caching() as client:
        answer = await client.get(f"demo/app/blobs/{empty}")
        assert (answer.status, answer.body) == (200, b"")
    assert world.stored() == {empty.encoded}


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [(404, 404, b"BLOB_UNKNOWN"), (403, 403, b"DENIED"), (429, 503, b"UNAVAILABLE"), (500, 503, b"UNAVAILABLE")],
)
async def test_what_the_upstream_does_not_give_has_its_own_answer(
    world: World, status: int, expected: int, code: bytes
) -> None:
    world.patience = CachePatience(limited=0)
    world.upstream.character = answering(status)
    async with world.caching() as client:
        answer = await client.get(f"demo/app/blobs/{LARGE_DIGEST}")
    assert (answer.status, code in answer.body) == (expected, True)


async def test_only_if_cached_fetches_nothing(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    here = {"Cache_Control": "only-if-cached"}
    async with world.caching() as client:
        assert (await client.head("demo/app/manifests/v1", **here)).status == 404
        assert world.upstream.seen == []
        await client.get("demo/app/manifests/v1")
        before = len(world.upstream.seen)
        assert (await client.get("demo/app/manifests/v1", **here)).body == IMAGE.manifest
        assert (await client.get(f"demo/app/blobs/{IMAGE.digest_of(OCI_LAYER)}", **here)).status == 404
        assert len(world.upstream.seen) == before
