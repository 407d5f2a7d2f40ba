"""What one node has is found by the others without asking everyone, and however it got there: real containerds."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Mirror
from lab.fetch import Request, fetch
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.toml_text import merged

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

# Not "open", in which everyone is asked before a pull is told no.
UPSTREAM_DECIDES = merged(PATIENT, {"authorization": {"mode": "upstream"}})
# Within which content is to be found: half a second, and what a busy machine needs. One that is asked for sooner is
# asked for again, and then everyone is asked.
FOUND_SECONDS = 0.5 + 4


async def ask(node: Node, digest: str) -> int:
    """The status with which a node's agent answers its containerd when that wants a blob."""
    assert node.agent
    url = f"http://127.0.0.1:3172/v2/demo/app/blobs/{digest}?ns={ORIGIN}"
    return (await fetch(Request(url, timeout=30), namespace=node.host.namespace)).status


async def unasked(node: Node) -> float:
    """How often it was known that nobody has it."""
    assert node.agent
    return (await node.agent.metrics()).total("registryd_find_seconds_count", outcome="unasked")


def nowhere() -> str:
    return f"sha256:{secrets.token_hex(32)}"


async def settled(cluster: Cluster, image: Image) -> None:
    """All nodes have something, and have told each other of it: whatever any of them misses, nobody is asked for."""
    reference = await cluster.push(image, "demo/first")
    for node in cluster.nodes:
        await node.pull(reference)
    async with asyncio.timeout(60):
        for node in cluster.nodes:
            before = -1.0
            while await unasked(node) - before < 20:
                before = await unasked(node)
                for _ in range(20):
                    assert await ask(node, nowhere()) == 404


async def test_what_nobody_has_is_known_without_asking_everyone(release: Release, image: Image) -> None:
    async with running_cluster([NodePlan(release, agent=UPSTREAM_DECIDES)] * 3) as cluster:
        await settled(cluster, image)


async def test_a_blob_of_no_image_is_found(release: Release, image: Image, tmp_path: Path) -> None:
    async with running_cluster([NodePlan(release, agent=UPSTREAM_DECIDES)] * 3) as cluster:
        await settled(cluster, image)
        owner, *others = cluster.nodes
        blob = tmp_path / "blob"
        blob.write_bytes(secrets.token_bytes(2 * MIB))
        digest = f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}"
        for node in others:
            assert await ask(node, nowhere()) == 404
        await _ingest(owner, blob, digest)
        await asyncio.sleep(FOUND_SECONDS)
        for node in others:
            assert await ask(node, digest) == 200


async def test_what_is_pulled_past_its_agent_is_found_when_it_is_known_where_it_is_from(
    release: Release, image: Image, tmp_path: Path
) -> None:
    """Which is when containerd has it: of what it is receiving only its requests tell, and those went elsewhere."""
    recipe = ImageRecipe(layers=(LayerRecipe(24 * MIB),), architectures=(local_architecture(),))
    large = make_image(tmp_path / "large", recipe)
    layer = large.local.layers[0]
    async with running_cluster([NodePlan(release, agent=UPSTREAM_DECIDES)] * 3) as cluster:
        await settled(cluster, image)
        owner, *others = cluster.nodes
        reference = await cluster.push(large, "demo/large")
        await cluster.origin_host.limit(64)  # three seconds
        owner.containerd.write_hosts(ORIGIN, Mirror(cluster.origin.url), server=cluster.origin.url)
        pull = asyncio.create_task(owner.pull(reference))
        async with asyncio.timeout(60):
            while owner.containerd.arrived(layer.digest) < MIB:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.005)
        assert await ask(others[0], layer.digest) == 404
        await pull
        await asyncio.sleep(FOUND_SECONDS)
        assert await ask(others[1], layer.digest) == 200
        given = await cluster.origin.blob_transfers(expected=1, blob=layer.digest)
        received = [access.client for access in given]
        assert received == [owner.host.ipv4]


async def _ingest(node: Node, blob: Path, digest: str) -> None:
    """As somebody does who puts content there by hand; the garbage collector has no reason to look yet."""
    script = ["content", "ingest", "--expected-digest", digest, f"blob-{digest}"]
    command = [str(node.containerd.release.ctr), "--address", str(node.containerd.places.socket), "-n", "k8s.io"]
    with blob.open("rb") as data:
        process = await asyncio.create_subprocess_exec(*command, *script, stdin=data)
        assert await process.wait() == 0
    # Where it is from, as containerd itself notes of what it pulls: what is nobody's is given to nobody.
    await node.containerd.ctr("content", "label", digest, f"containerd.io/distribution.source.{ORIGIN}=demo/app")
