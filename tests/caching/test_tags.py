"""What tags mean: now, a while ago, and when the upstream says nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.caching.patience import CachePatience
from registryd.config.cache import RegistryUpstream, TagMode
from tests.fakes.images import oci_image
from tests.fakes.upstream import answering, resetting

if TYPE_CHECKING:
    from tests.caching.world import Client, World
    from tests.fakes.upstream import Character

OLD = oci_image()
NEW = oci_image(layers=(b"another layer",))
BY_TAG = "demo/app/manifests/v1"


async def digest_of(client: Client, method: str = "HEAD") -> str:
    answer = await client.get(BY_TAG, method=method)
    assert answer.status == 200
    return answer.headers["Docker-Content-Digest"]


async def pull(client: Client, image: object = OLD) -> None:
    """As containerd does: HEAD by tag, then GET by digest."""
    digest = await digest_of(client)
    assert (await client.get(f"demo/app/manifests/{digest}")).status == 200


async def test_a_tag_is_checked_whenever_it_is_pulled(world: World) -> None:
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
        assert await digest_of(client) == str(OLD.target.digest)
        world.upstream.add("demo/app", NEW)
        assert await digest_of(client) == str(NEW.target.digest)
        assert await digest_of(client, "GET") == str(NEW.target.digest)
    assert world.requests("GET", "manifests") == 2


async def test_a_check_costs_no_pull_and_many_cost_one(world: World) -> None:
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
        gets, heads = world.requests("GET", "manifests"), world.requests("HEAD", "manifests")
        await asyncio.gather(*(digest_of(client, "GET") for _ in range(30)))
        assert world.requests("GET", "manifests") == gets
        assert world.requests("HEAD", "manifests") < heads + 10


@pytest.mark.parametrize("conditional", [True, False])
async def test_the_upstream_is_asked_only_whether_it_has_changed(world: World, conditional: bool) -> None:
    world.upstream.is_conditional = conditional
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
    # Also by a cache that was restarted: the condition is what the store knows.
    async with world.caching() as client:
        assert await digest_of(client) == str(OLD.target.digest)
        assert world.upstream.seen[-1].known == f'"{OLD.target.digest}"'
        world.upstream.add("demo/app", NEW)
        assert await digest_of(client) == str(NEW.target.digest)
        assert (await client.get(BY_TAG)).body == NEW.manifest
        assert await digest_of(client) == str(NEW.target.digest)
        assert world.upstream.seen[-1].known == f'"{NEW.target.digest}"'
    assert world.requests("GET", "manifests") == 2


async def test_unchanged_is_no_answer_to_who_knows_nothing(world: World) -> None:
    world.upstream.character = answering(304)
    async with world.caching() as client:
        assert (await client.head(BY_TAG)).status == 503


async def test_a_trusted_answer_is_not_asked_for_again(world: World) -> None:
    world.table = RegistryUpstream(tags=TagMode.TRUST, trust_for=60)
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
        world.upstream.add("demo/app", NEW)
        assert await digest_of(client) == str(OLD.target.digest)
    assert world.requests("HEAD", "manifests") == 1


async def test_tags_can_be_left_to_others(world: World) -> None:
    world.cache = replace(world.cache, tags=TagMode.DIGESTS)
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        assert (await client.head(BY_TAG)).status == 404
        assert (await client.get(f"demo/app/manifests/{OLD.target.digest}")).status == 200


@pytest.mark.parametrize(
    ("outage", "reason"),
    [(answering(429), "429"), (answering(503), "503"), (resetting, "connection broke")],
    ids=["limited", "5xx", "gone"],
)
async def test_without_the_upstream_a_tag_means_what_it_meant_last(
    world: World, outage: Character, reason: str
) -> None:
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
    world.upstream.character = outage
    # Also by a cache that was restarted in the outage.
    async with world.caching() as client:
        for method in ("HEAD", "GET"):
            answer = await client.get(BY_TAG, method=method)
            assert answer.headers["Docker-Content-Digest"] == str(OLD.target.digest)
            assert answer.cache_status.startswith("registryd; hit; ttl=-1; detail=")
            assert reason in answer.cache_status or "left alone" in answer.cache_status
    # The second question did not reach an upstream that had just failed.
    assert world.requests("HEAD", "manifests") <= 3  # aiohttp tries a connection twice that was closed on it


async def test_an_upstream_that_says_nothing_is_waited_for_briefly(world: World) -> None:
    world.patience = CachePatience(tags=0.05)
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
        gate = asyncio.Event()

        async def silent(_request: object) -> object:
            await gate.wait()
            raise AssertionError("cancelled before")

        world.upstream.character = silent  # type: ignore[assignment]
        assert "no answer within" in (await client.head(BY_TAG)).cache_status


@pytest.mark.parametrize(("status", "expected"), [(404, 404), (403, 403)])
async def test_a_tag_that_the_upstream_took_back_is_gone(world: World, status: int, expected: int) -> None:
    world.upstream.add("demo/app", OLD)
    async with world.caching() as client:
        await pull(client)
        world.upstream.character = answering(status)
        assert (await client.head(BY_TAG)).status == expected


async def test_a_registry_that_does_not_say_digests_is_asked_for_the_manifest(world: World) -> None:
    world.upstream.character = answering(
        200, OLD.manifest, Content_Type=OLD.target.media_type, Content_Length=str(len(OLD.manifest))
    )
    async with world.caching() as client:
        assert await digest_of(client) == str(OLD.target.digest)
        assert (await client.get(BY_TAG)).body == OLD.manifest
