"""A holder whose disk has changed bytes of each layer of an image is found out; an honest one is not accused."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from lab.cluster import NodePlan, running_cluster
from lab.errors import PullError
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

HOLDERS = 4
LAYERS = 6
# Large enough that several sources give each from its beginning on. The image takes 10 s: when one of its layers is
# wrong, others are under way, and containerd closes their connections.
LAYER_BYTES = 20_000_000
MEGABITS = 100
# One fails by what several gave, and one by each of two contents that one gave.
MOST_TRIES = 4
# A kubelet's first; its next ones are longer.
PAUSE_SECONDS = 10.0
FLUSH_SECONDS = 8.0


def spoil(node: Node, image: Image) -> None:
    """Change a few bytes of each of its layers."""
    for layer in image.local.layers:
        file = node.containerd.places.blob(layer.digest)
        data = bytearray(file.read_bytes())
        for at in range(len(data) // 5, len(data), len(data) // 5):
            data[at] ^= 1
        file.chmod(0o644)
        file.write_bytes(data)


async def pull_as_a_kubelet(node: Node, reference: str) -> int:
    """How many tries it takes, of those that may fail."""
    for tries in range(1, MOST_TRIES):
        try:
            await node.pull(reference)
        except PullError:
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return tries
    await node.pull(reference)
    return MOST_TRIES


async def test_bad_blocks_in_each_layer_cost_three_tries_at_most(newest: Release, tmp_path: Path) -> None:
    recipe = ImageRecipe((LayerRecipe(LAYER_BYTES),) * LAYERS, ("amd64",), seed=str(time.time_ns()))
    image = make_image(tmp_path / "layout", recipe)
    async with running_cluster([NodePlan(newest)] * (1 + HOLDERS)) as cluster:
        joining, *holders = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        for holder in holders:
            await holder.pull(reference)
        spoil(holders[0], image)
        await joining.host.limit(MEGABITS)
        await cluster.wait_acquainted()
        tries = await pull_as_a_kubelet(joining, reference)
        assert joining.agent
        accused = accused_by(joining)
        assert accused, "nobody was found out"
        print(f"{tries} tries; wrong bytes came from {accused}")


def accused_by(node: Node) -> list[str]:
    assert node.agent
    return re.findall(r"wrong bytes of \S+ came from ([^\"]*)\"", node.agent.process.log.read_text())


async def wait_all_bytes(node: Node, image: Image) -> None:
    """Return when containerd has received a layer, and still has its ingest."""
    async with asyncio.timeout(60):
        while not any(  # noqa: ASYNC110 - another process
            node.containerd.arrived(layer.digest) == layer.size for layer in image.local.layers
        ):
            await asyncio.sleep(0.001)


async def test_a_containerd_that_takes_long_to_flush_accuses_nobody(newest: Release, tmp_path: Path) -> None:
    """It stands still instead, with all bytes of a layer in its ingest: longer than a disk usually takes."""
    image = make_image(tmp_path / "layout", ImageRecipe((LayerRecipe(5 * LAYER_BYTES),), ("amd64",), seed="flush"))
    async with running_cluster([NodePlan(newest)] * 2) as cluster:
        joining, holder = cluster.nodes
        reference = await cluster.push(image, "demo/flush")
        await holder.pull(reference)
        cluster.origin.blobs_off()
        await cluster.wait_acquainted()
        pull = asyncio.create_task(joining.pull(reference))
        await wait_all_bytes(joining, image)
        os.kill(joining.containerd.process.pid, signal.SIGSTOP)
        try:
            (layer,) = image.local.layers
            assert joining.containerd.arrived(layer.digest) == layer.size, "it was flushed before it stood still"
            await asyncio.sleep(FLUSH_SECONDS)
        finally:
            os.kill(joining.containerd.process.pid, signal.SIGCONT)
        await pull
        assert not accused_by(joining)
