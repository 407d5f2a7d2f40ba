"""A cache that is a member of the cluster: what peers get from it, and what they never make it do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest

from registryd.agent.assembly import open_agent
from registryd.agent.cache import open_cache
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.config.agent import (
    AdminSettings,
    AuthorizationMode,
    AuthorizationSettings,
    DiscoverySettings,
    PeersSettings,
    RegistrySettings,
    SettingsError,
)
from registryd.identity.credentials import NoCredentials
from registryd.identity.secret import new_secret
from tests.caching.test_pull_through import slow
from tests.caching.world import LOOPBACK, REGISTRY, Client, until
from tests.fakes.images import OCI_LAYER, oci_image, sample_bytes
from tests.fakes.settings import directory_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.agent.cache import Cache
    from tests.caching.world import World

IMAGE = oci_image(layers=(b"small", sample_bytes(3_000_000)))
LARGE = max(IMAGE.blobs, key=lambda digest: len(IMAGE.blobs[digest]))
SMALL = IMAGE.digest_of(OCI_LAYER)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return _secret(tmp_path / "secret")


@asynccontextmanager
async def _caching(world: World, secret: Path | None) -> AsyncIterator[tuple[Client, Cache]]:
    """The cache of that world as a member, and a client of it."""
    world.cache = replace(world.cache, member=True)
    peers = PeersSettings(listen=LOOPBACK, content_listen=LOOPBACK, secret_file=secret)
    settings = replace(world.settings, peers=peers)
    async with aiohttp.ClientSession() as session, open_cache(settings) as cache:
        yield Client(session, cache.address), cache


@asynccontextmanager
async def _agent_beside(cache: Cache, secret: Path | None, root: Path) -> AsyncIterator[Client]:
    """A node with nothing of its own, whose only peer is the cache; what its containerd would be."""
    assert cache.joined
    settings = replace(
        directory_settings(root),
        registry=RegistrySettings(listen=LOOPBACK),
        peers=PeersSettings(listen=LOOPBACK, content_listen=LOOPBACK, secret_file=secret),
        discovery=DiscoverySettings(peers=(cache.joined.address(),)),
        admin=AdminSettings(listen=LOOPBACK),
        authorization=AuthorizationSettings(mode=AuthorizationMode.OPEN),
    )
    async with aiohttp.ClientSession() as session, open_agent(settings) as agent:
        yield Client(session, agent.registry_address)


@pytest.mark.parametrize("is_secured", [True, False])
async def test_a_node_pulls_what_the_cache_has(world: World, secret: Path, tmp_path: Path, *, is_secured: bool) -> None:
    world.upstream.add("demo/app", IMAGE)
    shared = secret if is_secured else None
    async with _caching(world, shared) as (client, cache), _agent_beside(cache, shared, tmp_path / "node") as node:
        for digest in (SMALL, LARGE):
            await client.get(f"demo/app/blobs/{digest}")
        await client.get("demo/app/manifests/v1")
        asked = len(world.upstream.seen)
        for digest in (SMALL, LARGE):
            answer = await node.get(f"demo/app/blobs/{digest}")
            assert (answer.status, answer.body) == (200, IMAGE.blobs[digest])
        named = await node.get("demo/app/manifests/v1")
        assert (named.status, named.body) == (200, IMAGE.manifest)
        assert len(world.upstream.seen) == asked


async def test_what_the_cache_lacks_is_not_fetched_for_a_peer(world: World, secret: Path, tmp_path: Path) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with _caching(world, secret) as (_, cache), _agent_beside(cache, secret, tmp_path / "node") as node:
        for path in (f"blobs/{LARGE}", f"manifests/{IMAGE.target.digest}", "manifests/v1"):
            assert (await node.get(f"demo/app/{path}")).status == 404
        assert not world.upstream.seen


async def test_what_is_arriving_in_the_cache_is_given_to_peers_meanwhile(
    world: World, secret: Path, tmp_path: Path
) -> None:
    gate, data = asyncio.Event(), IMAGE.blobs[LARGE]
    world.upstream.character = slow(data, gate)
    path = f"demo/app/blobs/{LARGE}"
    async with _caching(world, secret) as (client, cache), _agent_beside(cache, secret, tmp_path / "node") as node:
        first = asyncio.create_task(client.get(path))
        await until(lambda: any(file.stat().st_size for file in world.root.glob("ingest/*/sha256-*")))
        async with aiohttp.ClientSession() as session, session.get(f"{node.url}/v2/{path}?ns={REGISTRY}") as second:
            assert second.status == 200
            gate.set()
            assert await second.read() == data
        assert (await first).body == data
    assert len(world.blob_gets()) == 1


async def test_a_stranger_gets_nothing_from_a_cache(world: World, secret: Path, tmp_path: Path) -> None:
    world.upstream.add("demo/app", IMAGE)
    other = _secret(tmp_path / "other")
    async with _caching(world, secret) as (client, cache), _agent_beside(cache, other, tmp_path / "node") as node:
        assert (await client.get(f"demo/app/blobs/{SMALL}")).status == 200
        assert (await node.get(f"demo/app/blobs/{SMALL}")).status == 404


async def test_a_copy_that_a_peer_doubts_is_looked_at_and_fetched_again(world: World) -> None:
    world.upstream.add("demo/app", IMAGE)
    async with _caching(world, None) as (client, cache):
        await client.get(f"demo/app/blobs/{SMALL}")
        stored = world.root / "blobs" / SMALL.algorithm / SMALL.encoded
        stored.chmod(0o644)
        stored.write_bytes(b"SMALL")
        assert cache.joined
        peer = GrpcPeer(cache.joined.address(), timeout=30, credentials=NoCredentials())
        await peer.doubt(SMALL)
        await peer.aclose()
        await until(lambda: not stored.exists())
        assert (await client.get(f"demo/app/blobs/{SMALL}")).body == IMAGE.blobs[SMALL]


async def test_a_member_needs_a_secret_where_others_reach_it(world: World) -> None:
    world.cache = replace(world.cache, member=True)
    with pytest.raises(SettingsError, match=r"peers\.listen: .* set peers\.secret_file"):
        async with open_cache(replace(world.settings, peers=PeersSettings())):
            pass


async def test_a_cache_that_is_no_member_ignores_peers(world: World) -> None:
    async with open_cache(replace(world.settings, peers=PeersSettings())) as cache:
        assert cache.joined is None


def _secret(path: Path) -> Path:
    path.write_text(new_secret())
    path.chmod(0o600)
    return path
