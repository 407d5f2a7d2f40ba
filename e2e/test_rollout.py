"""One copy from the origin: a new image on four nodes at once, over links that are limited; and trouble in the middle.

Asserts what came from the origin and that all pulls succeed; times are printed (`benchmarks.rollout` measures them).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import Cluster, NodePlan, running_cluster
from lab.errors import PullError
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.roles import fetcher_of, index_node_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

NODES = 4
MEGABITS = 200
LAYERS = (LayerRecipe(20_000_000), LayerRecipe(10_000_000))
SLOWER = 5
GIVES_WAY = "this node is slow: it gets content from"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    recipe = ImageRecipe(layers=LAYERS, architectures=("amd64",), seed=str(time.time_ns()))
    return make_image(tmp_path / "layout", recipe)


@pytest.fixture
def one_layer(tmp_path: Path) -> Image:
    recipe = ImageRecipe(layers=(LayerRecipe(60_000_000),), architectures=("amd64",), seed=str(time.time_ns()))
    return make_image(tmp_path / "layout", recipe)


@asynccontextmanager
async def rollout(release: Release, settings: Table | None = None) -> AsyncIterator[Cluster]:
    async with running_cluster([NodePlan(release, agent=settings or {})] * NODES) as cluster:
        await cluster.wait_acquainted()
        for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
            await host.limit(MEGABITS)
        cluster.origin.forget_requests()
        yield cluster


async def pull_everywhere(cluster: Cluster, reference: str) -> None:
    begun = time.monotonic()
    await asyncio.gather(*(node.pull(reference) for node in cluster.nodes))
    size = sum(layer.size for layer in LAYERS)
    print(f"{NODES} nodes in {time.monotonic() - begun:.2f} s; S/B is {size * 8 / MEGABITS / 1e6:.2f} s")


async def pulls_under_way(
    cluster: Cluster, reference: str, layer: str
) -> tuple[Node, asyncio.Task[str], list[asyncio.Task[str]]]:
    """Of a wave in which some of the layer is there: the node that fetches it, its pull, and those of the others."""
    pulls = {node.host.name: asyncio.create_task(node.pull(reference)) for node in cluster.nodes}
    await wait_under_way(cluster, layer)
    fetcher = fetcher_of(cluster, layer)
    own = pulls.pop(fetcher.host.name)
    return fetcher, own, list(pulls.values())


async def pull_one_below_another(cluster: Cluster, reference: str, digest: str) -> list[float]:
    """Seconds that each node takes, which begins when the one before it has begun to receive the layer."""

    async def pull(node: Node) -> float:
        begun = time.monotonic()
        await node.pull(reference)
        return time.monotonic() - begun

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        pulls = []
        for node in cluster.nodes:
            pulls.append(group.create_task(pull(node)))
            while node.containerd.arrived(digest) <= 0:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.005)
    return [pulling.result() for pulling in pulls]


async def wait_under_way(cluster: Cluster, digest: str) -> None:
    """Return when the first node has some of the layer to pass on."""
    async with asyncio.timeout(60):
        while max(node.containerd.arrived(digest) for node in cluster.nodes) < 4 * MIB:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.005)


async def taken_from_origin(cluster: Cluster, blobs: Sequence[str]) -> Counter[str]:
    """How often each document, and each blob, of which all of these are expected, was asked for."""
    await cluster.origin.blob_transfers(expected=len(blobs))
    return Counter(access.reference for access in cluster.origin.requests() if access.method == "GET")


def blobs_of(image: Image) -> list[str]:
    return [image.local.config.digest, *(layer.digest for layer in image.local.layers)]


# As a language runtime with an application has: more layers than containerd has places.
APP = tuple(LayerRecipe(int(megabytes * 500_000)) for megabytes in (29, 3.5, 13, 5, 38, 8, 2, *[0.04] * 5))


async def test_an_image_of_many_layers_stands_still_in_no_order_of_asking(release: Release, tmp_path: Path) -> None:
    """Since 2.1 each node asks for all layers at once, in an order of its own."""
    recipe = ImageRecipe(layers=APP, architectures=("amd64",), seed=str(time.time_ns()))
    image = make_image(tmp_path / "layout", recipe)
    async with rollout(release, PATIENT) as cluster:
        reference = await cluster.push(image, "demo/app")
        cluster.origin.forget_requests()
        await pull_everywhere(cluster, reference)
        taken = await taken_from_origin(cluster, blobs_of(image))
        assert {digest: taken[digest] for digest in blobs_of(image)} == dict.fromkeys(blobs_of(image), 1)
        for node in cluster.nodes:
            assert all(map(node.containerd.has_blob, blobs_of(image)))


async def test_the_origin_sends_each_blob_once(release: Release, image: Image) -> None:
    async with rollout(release, PATIENT) as cluster:
        reference = await cluster.push(image, "demo/app")
        cluster.origin.forget_requests()
        await pull_everywhere(cluster, reference)
        taken = await taken_from_origin(cluster, blobs_of(image))
        assert [taken[digest] for digest in blobs_of(image)] == [1] * 3
        assert taken[image.root.digest] <= 2
        for node in cluster.nodes:
            assert all(map(node.containerd.has_blob, blobs_of(image)))


async def test_an_index_node_whose_agent_dies_in_the_wave_fails_no_pull(release: Release, image: Image) -> None:
    layer = image.local.layers[0].digest
    async with rollout(release) as cluster:
        reference = await cluster.push(image, "demo/app")
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await wait_under_way(cluster, layer)
        victim = index_node_of(cluster, layer).agent
        assert victim
        await victim.kill()
        await pulling


async def test_a_fetching_node_whose_agent_dies_in_the_wave_fails_no_pull(release: Release, image: Image) -> None:
    layer = image.local.layers[0].digest
    async with rollout(release) as cluster:
        reference = await cluster.push(image, "demo/app")
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await wait_under_way(cluster, layer)
        victim = fetcher_of(cluster, layer).agent
        assert victim
        await victim.kill()
        await pulling


async def test_a_fetching_node_that_is_lost_in_the_wave_fails_no_pull_of_another(
    release: Release, image: Image
) -> None:
    layer = image.local.layers[0].digest
    async with rollout(release) as cluster:
        reference = await cluster.push(image, "demo/app")
        begun = time.monotonic()
        victim, lost, others = await pulls_under_way(cluster, reference, layer)
        await victim.host.unplug()
        await asyncio.gather(*others)
        print(f"the other {len(others)} nodes in {time.monotonic() - begun:.2f} s")
        lost.cancel()
        await asyncio.wait([lost])


@pytest.mark.parametrize("what", ["agent", "containerd"])
async def test_below_a_node_that_stands_still_only_its_own_followers_look_for_another_source(
    newest: Release, one_layer: Image, what: str
) -> None:
    """Its kernel or its agent answers. All others wait, and are told so by their sources, none of which has failed."""
    layer = one_layer.local.layers[0].digest
    # Its followers ask twice, for as long as this: together less than the 15 s after which all ask their sources.
    async with rollout(newest, {"peers": {"find_timeout": "3s"}}) as cluster:
        reference = await cluster.push(one_layer, "demo/app")
        cluster.origin.forget_requests()
        victim, own, others = await pulls_under_way(cluster, reference, layer)
        assert victim.agent
        process = victim.agent.process if what == "agent" else victim.containerd.process
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.gather(*others)
        os.kill(process.pid, signal.SIGCONT)
        await own
        assert (await taken_from_origin(cluster, [layer] * 2))[layer] == 2
        slowed = [await slowed_by(node) for node in cluster.nodes if node is not victim]
        lost = [text.partition("lost a source: ")[2] for text in slowed]
        assert {name for names in lost for name in re.findall(r"10[\d.]+", names)} == {victim.host.ipv4}, slowed


async def slowed_by(node: Node) -> str:
    """What its agent says of its one pull, some seconds after the end."""
    assert node.agent
    async with asyncio.timeout(60):
        while True:
            lines = map(json.loads, node.agent.process.log.read_text().splitlines())
            for line in lines:
                if line["message"] == "pull":
                    return str(line["slowed"])
            await asyncio.sleep(0.2)


async def test_an_origin_that_cuts_connections_fails_no_pull(release: Release, image: Image) -> None:
    async with rollout(release) as cluster:
        reference = await cluster.push(image, "demo/app")
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await asyncio.sleep(0.8)
        await cluster.origin_host.unplug()
        await asyncio.sleep(1.5)
        await cluster.origin_host.plug_in()
        await pulling


async def test_a_partition_in_the_wave_fails_no_pull(release: Release, image: Image) -> None:
    async with rollout(release) as cluster:
        reference = await cluster.push(image, "demo/app")
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await asyncio.sleep(0.8)
        await cluster.nodes[1].host.unplug()
        await asyncio.sleep(1.5)
        await cluster.nodes[1].host.plug_in()
        await pulling


@pytest.mark.parametrize("seconds", [6, 8])
async def test_a_node_whose_own_cable_was_out_blames_none_of_its_sources(
    newest: Release, one_layer: Image, seconds: int
) -> None:
    """It lost all of them at once. A kubelet tries again after 10 and 20 s, and no origin would help it out.

    After six seconds the link is back before greetings have failed twice.
    """
    layer = one_layer.local.layers[0].digest
    async with running_cluster([NodePlan(newest)] * 3) as cluster:
        joining, *holders = cluster.nodes
        reference = await cluster.push(one_layer, "demo/app")
        for holder in holders:
            await holder.pull(reference)
            await holder.host.limit(MEGABITS / 2)
        await cluster.wait_acquainted()
        await cluster.origin_host.unplug()
        pulling = asyncio.create_task(joining.pull(reference))
        await wait_under_way(cluster, layer)
        await joining.host.unplug()
        await asyncio.sleep(seconds)
        await joining.host.plug_in()
        with suppress(PullError):
            await pulling
        async with asyncio.timeout(30):
            while not joining.containerd.has_blob(layer):
                with suppress(PullError):
                    await joining.pull(reference)


@pytest.mark.parametrize(("place", "copies"), [(1, 1), (0, 2)], ids=["in the chain", "at the top"])
async def test_a_slow_node_holds_up_none_of_those_below_it(
    release: Release, one_layer: Image, place: int, copies: int
) -> None:
    layer = one_layer.local.layers[0].digest
    async with rollout(release, PATIENT) as cluster:
        reference = await cluster.push(one_layer, "demo/app")
        cluster.origin.forget_requests()
        for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
            await host.limit(MEGABITS / 2)
        await cluster.nodes[place].host.limit(MEGABITS / 2 / SLOWER)
        seconds = await pull_one_below_another(cluster, reference, layer)
        slow = seconds.pop(place)
        print(f"the slow one {slow:.2f} s, the others {', '.join(f'{each:.2f}' for each in seconds)} s")
        assert max(seconds) < slow
        agent = cluster.nodes[place].agent
        assert agent
        assert (GIVES_WAY in agent.process.log.read_text()) is (place > 0)
        assert (await taken_from_origin(cluster, [layer] * copies))[layer] == copies
