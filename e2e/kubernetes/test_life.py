"""What happens to a cluster in its life, and what pulls notice of it: nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.fourth_node import fourth_node
from e2e.kubernetes.outages import TALKATIVE, pull_without_registry, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.lab.pods import Outcome
    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "A cluster's life"


@pytest.mark.long
async def test_agents_are_rolled_out_anew_while_pods_start(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install()
    images = [await spread(stage, stage.nodes[0], f"rollout-{number}") for number in range(6)]
    done = asyncio.Event()
    outcomes: list[Outcome] = []

    async def start_pods() -> None:
        while not done.is_set() or not outcomes:
            for reference, _ in images:
                for node in stage.nodes[1:]:
                    outcomes.append(await stage.pod(node, reference))
                    await node.images.remove(reference)

    async with asyncio.TaskGroup() as group:
        group.create_task(start_pods())
        seconds = await stage.install(*TALKATIVE)
        done.set()
    assert all(outcome.runs for outcome in outcomes), [each.message for each in outcomes if not each.runs]
    seen(
        TABLE,
        what="`helm upgrade` while pods start",
        seen=f"{len(outcomes)} pods with images that their node lacks: all run",
        seconds=f"{seconds:.0f}",
    )


@pytest.mark.long
async def test_a_node_dies_and_is_deleted(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install(*TALKATIVE)
    cluster = stage.cluster
    node = await fourth_node(stage)
    reference, _ = await spread(stage, stage.nodes[0], "dead-node")
    await cluster.remove(node)
    try:
        seconds = await pull_without_registry(stage, stage.nodes[1], reference)
    finally:  # what comes afterwards would wait for it
        await cluster.kubectl("delete", "node", node.name)
    what = "another pulls from a third, registry off, at the kubelet's second try at the latest"
    seen(TABLE, what="a node loses its power", seen=what, seconds=f"{seconds:.1f}")
    gone = await cluster.kubectl.until(lambda: is_gone(stage, node), what=f"{node.name} is no endpoint", timeout=240)
    await stage.wait_acquainted()
    what = "gone from the EndpointSlice and from the agents' peers"
    seen(TABLE, what="and is deleted", seen=what, seconds=f"{gone:.0f}")


async def is_gone(stage: Stage, node: Node) -> bool:
    slices = await stage.cluster.kubectl.find(
        "endpointslices", namespace="kube-system", selector="kubernetes.io/service-name=registryd"
    )
    addresses = [address for each in slices for entry in each["endpoints"] for address in entry["addresses"]]
    return node.host.ipv4 not in addresses


async def test_the_api_server_is_away(stage: Stage, seen: Callable[..., None]) -> None:
    """For as long as its clients need to notice, and it comes back with another certificate."""
    await stage.install(*TALKATIVE)
    reference, _ = await spread(stage, stage.nodes[0], "api-server")
    plane = stage.cluster.plane
    await plane.stop_api_server()
    began = time.monotonic()
    await asyncio.sleep(15)  # longer than the pauses with which agents try again at first
    seconds = await pull_without_registry(stage, stage.nodes[2], reference)
    counts = [await stage.peers(node) for node in stage.nodes]
    away = time.monotonic() - began
    await plane.start_api_server()
    assert counts == [len(stage.nodes) - 1] * len(stage.nodes)
    await stage.cluster.kubectl.until(lambda: is_followed(stage), what="agents follow their endpoints again")
    seen(
        TABLE,
        what=f"the API server is away for {away:.0f} s",
        seen="agents keep their peers; a node pulls from another, registry off",
        seconds=f"{seconds:.1f}",
    )


async def is_followed(stage: Stage) -> bool:
    """Every agent that lost its watch has said that it has read its endpoints again."""
    selector = "app.kubernetes.io/component=agent"
    pods = await stage.cluster.kubectl.find("pods", namespace="kube-system", selector=selector)
    for pod in pods:
        said = await stage.cluster.kubectl("-n", "kube-system", "logs", pod["metadata"]["name"], "-c", "agent")
        if said.rfind("the peers stay as they are") > said.rfind("read again"):
            return False
    return bool(pods)


async def test_containerd_is_restarted(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install(*TALKATIVE)
    reference, _ = await spread(stage, stage.nodes[0], "containerd")
    for node in stage.nodes[:2]:
        await node.restart_containerd()
    seconds = await pull_without_registry(stage, stage.nodes[1], reference)
    seen(
        TABLE,
        what="containerd is restarted on giver and taker",
        seen="the pull right afterwards comes from the peer, registry off",
        seconds=f"{seconds:.1f}",
    )
