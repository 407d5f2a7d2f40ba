"""Images of which the cluster keeps copies, with real containerds: what is lost on one node comes to another."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from lab.agent import PATIENT
from lab.cluster import NodePlan, running_cluster
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(400)

# Short, so that a test takes a minute: what is lacking for this long is made up for.
DELAY = 5
IMAGES: Table = {"keep": ["origin.lab/demo/* copies=2"], "keep_delay": f"{DELAY}s", "keep_max_disk": 99}
KEEPING: Table = merged(PATIENT, {"images": IMAGES})
# A look is half a minute apart at most, a death is noticed within 15 s, and a busy machine is slow.
PATIENCE = 180


async def copies(node: Node) -> list[dict[str, Any]]:
    """What the node says of those that it keeps."""
    assert node.agent
    found: list[dict[str, Any]] = json.loads((await node.agent.ask_admin("/status")).body)["copies"]
    return found


async def keepers(nodes: list[Node], reference: str) -> list[Node]:
    told = await asyncio.gather(*(copies(node) for node in nodes))
    return [
        node
        for node, of_it in zip(nodes, told, strict=True)
        if any(each["image"] == reference and each["state"] != "taking" for each in of_it)
    ]


async def wait_kept(
    nodes: list[Node], reference: str, count: int, such: Callable[[list[Node]], bool] = bool
) -> list[Node]:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await keepers(nodes, reference)
            if len(found) == count and such(found):
                return found
            await asyncio.sleep(0.5)


def pulled_from(cluster: Cluster) -> int:
    return len([access for access in cluster.origin.requests() if access.is_blob_transfer])


async def test_copies_hold_through_kills_drains_and_collections(newest: Release, image: Image) -> None:
    async with running_cluster([NodePlan(newest, agent=KEEPING)] * 4) as cluster:
        nodes = list(cluster.nodes)
        reference = await cluster.push(image, "demo/app")

        # One node has it: it keeps it, and a second one takes a copy, from its peer.
        await nodes[0].pull(reference)
        cluster.origin.forget_requests()
        first, second = await wait_kept(nodes, reference, 2)
        assert nodes[0] in {first, second}
        assert pulled_from(cluster) == 0
        for node in (first, second):
            assert await node.containerd.images.pinned() == {reference}

        # Another node pulls it: there are enough, so it is not kept there.
        (third, *_) = [node for node in nodes if node not in {first, second}]
        await third.pull(reference)

        # It is collected on one of those that keep it: the one that has it anyway keeps it, and nothing is pulled.
        await second.remove(reference, *image.digests)
        found = await wait_kept(nodes, reference, 2, lambda found: second not in found)
        assert set(map(id, found)) == {id(first), id(third)}

        # A node dies, with its containerd: somebody else takes it.
        assert first.agent
        await first.agent.kill()
        await first.containerd.kill()
        left = [node for node in nodes if node is not first]
        found = await wait_kept(left, reference, 2)

        # A node is drained: its agent says goodbye.
        drained = found[0]
        assert drained.agent
        await drained.agent.stop()
        await drained.containerd.stop()
        left = [node for node in left if node is not drained]
        found = await wait_kept(left, reference, 2)
        assert len(left) == 2
        assert pulled_from(cluster) == 0


async def test_an_image_that_one_node_has_is_shown_where_nobody_may_take_it(newest: Release, image: Image) -> None:
    """The other has no room."""
    tight = {"images": {**IMAGES, "keep_max_size": "1KiB"}}
    async with running_cluster([NodePlan(newest, agent=KEEPING), NodePlan(newest, agent=tight)]) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        async with asyncio.timeout(PATIENCE):
            while [each["state"] for each in await copies(first)] != ["alone"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.5)
        assert first.agent
        assert (await first.agent.metrics()).total("registryd_copies", state="alone") == 1
        await asyncio.sleep(DELAY * 3)
        assert await copies(second) == []
        assert await second.containerd.images.tags() == set()
