"""Upstreams that break, lie, stall and refuse: what clients get, and what is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.config.cache import RegistryUpstream
from registryd.oci.digest import Digest
from tests.fakes.images import oci_image, sample_bytes
from tests.fakes.upstream import FakeUpstream, answering, open_upstream, resetting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.caching.world import World
    from tests.fakes.upstream import Character

DATA = sample_bytes(2_000_000)
DIGEST = Digest.of(DATA)
BLOB = f"demo/app/blobs/{DIGEST}"


def breaking(data: bytes, *, every: int, ranges: bool = True) -> Character:
    """Hangs up after so many bytes of each answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = (request.http_range.start or 0) if ranges else 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        await response.write(data[start : start + every])
        # aiohttp's client drops what it has not read when a connection ends: let it read.
        await asyncio.sleep(0.05)
        if start + every < len(data) and request.transport is not None:
            request.transport.close()
        return response

    return answer


@pytest.fixture
async def mirror() -> AsyncIterator[FakeUpstream]:
    async with open_upstream() as mirror:
        yield mirror


async def test_a_body_that_breaks_is_gone_on_with(world: World) -> None:
    world.upstream.character = breaking(DATA, every=600_000)
    async with world.caching() as client:
        answer = await client.get(BLOB)
    assert (answer.is_whole, answer.body) == (True, DATA)
    assert world.stored() == {DIGEST.encoded}
    # Four when the client has read all of each before it ends.
    assert len(world.blob_gets()) >= 4


async def test_an_upstream_without_ranges_is_read_up_to_where_it_broke(world: World) -> None:
    breaks = iter([700_000, len(DATA)])

    async def answer(request: web.Request) -> web.StreamResponse:
        return await breaking(DATA, every=next(breaks), ranges=False)(request)

    world.upstream.character = answer
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA


async def test_where_one_endpoint_breaks_the_next_goes_on(world: World, mirror: FakeUpstream) -> None:
    mirror.character = breaking(DATA, every=500_000)
    world.upstream.blobs[str(DIGEST)] = DATA
    world.table = RegistryUpstream(mirrors=(mirror.url,))

    async def once(request: web.Request) -> web.StreamResponse:
        mirror.character = resetting
        return await breaking(DATA, every=500_000)(request)

    mirror.character = once
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA
    assert (mirror.seen[0].query, len(world.blob_gets())) == ("ns=registry.example", 1)


async def test_a_mirror_that_is_down_does_not_hide_what_the_registry_says(world: World, mirror: FakeUpstream) -> None:
    mirror.character = answering(500)
    world.table = RegistryUpstream(mirrors=(mirror.url,))
    async with world.caching() as client:
        # The second time the mirror is asked last, because it failed.
        for _ in range(2):
            assert (await client.get(BLOB)).status == 404
        world.upstream.blobs[str(DIGEST)] = DATA
        assert (await client.get(BLOB)).body == DATA


async def test_an_upstream_that_is_started_again_within_five_seconds_ends_no_body(world: World) -> None:
    back_at = 0.0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal back_at
        now = asyncio.get_running_loop().time()
        back_at = back_at or now + 5
        is_down = now < back_at and request.http_range.start
        return await (answering(503) if is_down else breaking(DATA, every=1_200_000))(request)

    world.upstream.character = answer
    async with world.caching() as client:
        assert (await client.get(BLOB)).body == DATA


async def test_an_upstream_that_breaks_each_answer_after_a_few_bytes_is_asked_seven_times(world: World) -> None:
    world.upstream.character = breaking(DATA, every=1000)
    async with world.caching() as client:
        assert not (await client.get(BLOB)).is_whole
    assert len(world.blob_gets()) == 7


async def test_an_upstream_that_is_switched_off_ends_the_body_early(world: World) -> None:
    world.upstream.character = breaking(DATA, every=500_000)
    served = breaking(DATA, every=500_000)

    async def once(request: web.Request) -> web.StreamResponse:
        world.upstream.character = answering(500)
        return await served(request)

    world.upstream.character = once
    async with world.caching() as client:
        answer = await client.get(BLOB)
    assert (answer.status, answer.is_whole) == (200, False)
    assert DATA.startswith(answer.body)
    assert world.stored() == set()


async def test_wrong_bytes_are_never_given_whole_and_not_at_all_the_second_time(world: World) -> None:
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    world.upstream.blobs[str(DIGEST)] = wrong
    async with world.caching() as client:
        answers = await asyncio.gather(*(client.get(BLOB) for _ in range(5)))
        assert not any(answer.is_whole for answer in answers)
        assert all(len(answer.body) < len(DATA) for answer in answers)
        again = await client.get(BLOB)
        assert (again.status, again.is_whole) == (503, True)
        # There is no other endpoint: as soon as it is right, it is given.
        world.upstream.blobs[str(DIGEST)] = DATA
        assert (await client.get(BLOB)).body == DATA
    assert len(world.blob_gets()) == 3
    assert world.stored() == {DIGEST.encoded}


async def test_after_wrong_bytes_another_endpoint_is_asked_and_shown_only_when_verified(
    world: World, mirror: FakeUpstream
) -> None:
    mirror.blobs[str(DIGEST)] = b"?" * len(DATA)
    world.upstream.blobs[str(DIGEST)] = DATA
    world.table = RegistryUpstream(mirrors=(mirror.url,))
    async with world.caching() as client:
        assert not (await client.get(BLOB)).is_whole
        assert (await client.get(BLOB)).body == DATA
    assert world.stored() == {DIGEST.encoded}


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"more"])
async def test_content_of_another_length_is_not_kept(world: World, wrong: bytes) -> None:
    world.upstream.blobs[str(DIGEST)] = wrong
    async with world.caching() as client:
        assert not (await client.get(BLOB)).is_whole
    assert world.stored() == set()


async def test_a_wrong_manifest_is_not_given_at_all(world: World) -> None:
    image = oci_image()
    world.upstream.add("demo/app", image)
    world.upstream.manifests["demo/app", str(image.target.digest)] = (image.target.media_type, b'{"other": 1}')
    async with world.caching() as client:
        assert (await client.get(f"demo/app/manifests/{image.target.digest}")).status == 503
    assert world.stored() == set()


async def test_a_limited_upstream_is_left_alone(world: World) -> None:
    world.upstream.character = answering(429, Retry_After="60")
    async with world.caching() as client:
        for _ in range(4):
            assert (await client.get(BLOB)).status == 503
    assert len(world.upstream.seen) == 1


async def test_a_registry_that_refuses_every_second_request_is_pulled_from(world: World) -> None:
    """containerd pulls from it, because it asks again at once."""
    image = oci_image()
    world.upstream.add("demo/app", image)
    asked = 0

    async def every_second(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await answering(429)(request) if asked % 2 else world.upstream._registry(request)

    world.upstream.character = every_second
    async with world.caching() as client:
        assert (await client.head("demo/app/manifests/v1")).status == 200
        assert (await client.get("demo/app/manifests/v1")).body == image.manifest
        for digest, data in image.blobs.items():
            if digest != Digest.of(image.manifest):
                assert (await client.get(f"demo/app/blobs/{digest}")).body == data


async def test_a_store_without_room_is_gone_past(world: World) -> None:
    world.cache = replace(world.cache, size_limit=1_000_000)
    world.upstream.blobs[str(DIGEST)] = DATA
    async with world.caching() as client:
        for header, expected in ((None, DATA), ("bytes=1999000-", DATA[1999000:])):
            answer = await client.get(BLOB, **({"Range": header} if header else {}))
            assert (answer.is_whole, answer.body) == (True, expected)
    assert world.stored() == set()


@pytest.mark.parametrize("status", [429, 503])
async def test_when_to_come_again_is_passed_on_with_the_reason(world: World, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        errors = [{"code": "TOOMANYREQUESTS", "message": "enough for today"}]
        return web.json_response({"errors": errors}, status=status, headers={"Retry-After": "77"})

    world.upstream.character = answer
    async with world.caching() as client:
        for path in (BLOB, "demo/app/manifests/v1"):
            refused = await client.get(path)
            assert refused.status == 503
            assert 70 < int(refused.headers["Retry-After"]) <= 77
            assert b"enough for today" in refused.body
