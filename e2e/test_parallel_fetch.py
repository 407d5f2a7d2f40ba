"""Layers that containerd fetches in chunks: what one node is given wrong harms nobody else."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT, REGISTRY
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Mirror, Options
from lab.errors import LabError
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

NODES = 3
MEGABITS = 200
LAYER_BYTES = 60_000_000
# Well into the layer: others have followed by then.
WRONG_FROM = 24_000_000
PORT = 5001


@pytest.fixture
def image(tmp_path: Path) -> Image:
    recipe = ImageRecipe((LayerRecipe(LAYER_BYTES, gzipped=False),), ("amd64",), seed=str(time.time_ns()))
    return make_image(tmp_path / "layout", recipe)


@asynccontextmanager
async def chain(release: Release, buffer: int) -> AsyncIterator[Cluster]:
    """Nodes whose containerds fetch in parallel, on links that are slower than they are."""
    options = Options(concurrent_layer_fetch_buffer=buffer)
    async with running_cluster([NodePlan(release, options, PATIENT)] * NODES) as cluster:
        for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
            await host.limit(MEGABITS)
        cluster.origin.forget_requests()
        yield cluster


@asynccontextmanager
async def wrong_way(cluster: Cluster, node: Node, manner: str) -> AsyncIterator[Process]:
    """The node, and no other, gets to the origin by a way that answers one chunk wrong."""
    address = f"{cluster.origin_host.ipv4}:{PORT}"
    module = "lab.wrong_chunks"
    argv = [sys.executable, "-m", module, address, cluster.origin.url, manner, str(WRONG_FROM)]
    process = await Process.start(argv, log=cluster.folder / "wrong.log", namespace=cluster.origin_host.namespace)
    try:

        async def is_ready() -> bool:
            return "ready" in process.log.read_text()

        await process.wait_ready(is_ready)
        node.containerd.write_hosts(ORIGIN, Mirror(f"http://{REGISTRY}", dial_timeout="1s"), server=f"http://{address}")
        yield process
    finally:
        await process.kill()


async def pull_in_turn(cluster: Cluster, reference: str, digest: str) -> list[str | None]:
    """What went wrong on each node; each begins when the one before it is receiving the layer."""

    async def pull(node: Node) -> str | None:
        try:
            await node.pull(reference, timeout=120)
        except LabError as error:
            return str(error)
        return None

    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        pulls = []
        for node in cluster.nodes:
            pulls.append(group.create_task(pull(node)))
            while node.containerd.arrived(digest) < 0 and not pulls[-1].done():  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.005)
            if node is cluster.nodes[0]:
                while node.containerd.arrived(digest) < 2 * MIB:  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.005)
    return [pulling.result() for pulling in pulls]


@pytest.mark.parametrize("manner", ["whole", "short"])
@pytest.mark.parametrize("buffer", [0, MIB, 1_000_003])
async def test_a_wrong_chunk_fails_nobody_else(newest: Release, image: Image, buffer: int, manner: str) -> None:
    async with chain(newest, buffer) as cluster:
        reference = await cluster.push(image, "wrong/chunk")
        async with wrong_way(cluster, cluster.nodes[0], manner) as way:
            begun = time.monotonic()
            problems = await pull_in_turn(cluster, reference, image.local.layers[0].digest)
            was_wrong = "wrong" in way.log.read_text()
        print(f"{manner}, {buffer}: {problems}, {time.monotonic() - begun:.1f} s")
        assert was_wrong == (buffer > 0), "containerd fetches in chunks when it is told to"
        assert problems[1:] == [None, None]
        assert (problems[0] is None) == (buffer == 0), "without chunks there is nothing to be wrong"


@pytest.mark.parametrize("buffer", [MIB, 1_000_003])
async def test_chunks_that_are_right_come_once(newest: Release, image: Image, buffer: int) -> None:
    """Others wait until the first node has all of it, and then get it from each other."""
    async with chain(newest, buffer) as cluster:
        reference = await cluster.push(image, "right/chunks")
        digest = image.local.layers[0].digest
        begun = time.monotonic()
        assert await pull_in_turn(cluster, reference, digest) == [None] * NODES
        alone = LAYER_BYTES * 8 / MEGABITS / 1e6
        print(f"{time.monotonic() - begun:.1f} s, of {alone:.1f} s that the bytes take once")
        askers = {access.client for access in cluster.origin.requests() if digest in access.reference}
        assert len(askers) == 1, "one copy, though in several requests"
