"""Clients that go away, and upstreams that keep them waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest

from registryd.agent.cache import open_cache
from registryd.oci.digest import Digest
from tests.caching.test_pull_through import slow
from tests.caching.world import Client, until
from tests.fakes.images import sample_bytes
from tests.fakes.upstream import silent

if TYPE_CHECKING:
    from tests.caching.world import World

DATA = sample_bytes(1_000_000)
BLOB = f"demo/app/blobs/{Digest.of(DATA)}"


async def test_who_goes_away_disturbs_nobody(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.character = slow(DATA, gate)
    async with world.caching() as client:
        first, second = (asyncio.create_task(client.get(BLOB)) for _ in range(2))
        await until(lambda: list(world.root.glob("ingest/*/sha256-*")))
        first.cancel()
        gate.set()
        assert (await second).body == DATA
    assert len(world.blob_gets()) == 1


async def test_a_download_that_is_under_way_ends_with_the_cache(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.character = slow(DATA, gate)
    async with aiohttp.ClientSession() as session:
        async with open_cache(world.settings) as cache:
            reader = asyncio.create_task(Client(session, cache.address).get(BLOB))
            await until(lambda: list(world.root.glob("ingest/*/sha256-*")))
        [answer] = await asyncio.gather(reader, return_exceptions=True)
    assert getattr(answer, "body", b"") != DATA  # cut off, or a 503 when nothing had been sent yet
    assert not list(world.root.glob("ingest/*/sha256-*"))


@pytest.mark.parametrize("path", [BLOB, "demo/app/manifests/v1", f"demo/app/manifests/{Digest.of(DATA)}"])
async def test_an_upstream_that_says_nothing_is_not_waited_for_for_ever(world: World, path: str) -> None:
    world.cache = replace(world.cache, first_byte_timeout=0.1)
    world.upstream.character = silent
    async with world.caching() as client:
        for method in ("GET", "HEAD"):
            answer = await client.get(path, method=method)
            assert answer.status == 503
