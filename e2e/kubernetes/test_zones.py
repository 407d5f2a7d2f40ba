"""Zones: what goes from one to the other once instead of for each node, and how an agent learns its own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.fourth_node import fourth_node
from e2e.kubernetes.outages import TALKATIVE
from lab.network import set_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage
    from lab.network import Trunk

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

LINK_MEGABITS = 50
AGENTS = "app.kubernetes.io/component=agent"
LABEL = "topology.kubernetes.io/zone"
# Of 1.35 and later; without it a pod has no label of its node's zone, as before.
PLUGIN = "PodTopologyLabels"


async def test_zones(stage: Stage, seen: Callable[..., None]) -> None:
    """Two nodes in each of two zones pull at once; what goes from zone to zone is what costs, and takes long."""
    await stage.install(*TALKATIVE)
    await fourth_node(stage)
    assert await zones_shown(stage) == {"zone-a": 2, "zone-b": 2}
    far = [node.host for node in stage.nodes if node.plan.zone == "zone-b"]
    async with set_apart(far, megabits=LINK_MEGABITS) as link:
        with stage.without_agents("public"):
            without = await pull_and_count(stage, seen, link, "without registryd")
        across = await pull_and_count(stage, seen, link, "with registryd")
    assert without > 1.9  # one for each node of the zone that is far from the registry
    assert across < 1.2  # one for all, whoever has fetched it, and what is said besides


async def pull_and_count(stage: Stage, seen: Callable[..., None], link: Trunk, agents: str) -> float:
    """All nodes pull a new image at once; how many copies of it the link carried, in the direction with more of them.

    The registry is on one side of it; a node of the other may be the one that fetches, and give the others theirs.
    """
    reference, image = await stage.image("public", f"life/zones-{agents.split(maxsplit=1)[0]}", mib=64)
    before = [await sent_by_zone(stage, node) for node in stage.nodes]
    carried = await link.carried()
    began = time.monotonic()
    await asyncio.gather(*(node.images.pull(reference) for node in stage.nodes))
    seconds = time.monotonic() - began
    after = [await sent_by_zone(stage, node) for node in stage.nodes]
    whole = sum(layer.size for layer in image.local.layers)
    across = [(now - then) / whole for now, then in zip(await link.carried(), carried, strict=True)]
    same, other, unknown = (
        sum(now[number] - then[number] for now, then in zip(after, before, strict=True)) / whole for number in range(3)
    )
    requests = stage.registries["public"].requests()
    given = sum(each.sent for each in requests if each.is_blob_transfer and each.reference in image.digests) / whole
    seen(
        "Zones",
        what=f"{whole / 1e6:.0f} MB to two nodes in each of two zones at once, {LINK_MEGABITS} Mbit/s between them",
        agents=agents,
        seconds=f"{seconds:.1f}",
        copies_from_the_registry=f"{given:.2f}",
        from_peers_within_zones=f"{same:.2f}",
        from_peers_across_zones=f"{other:.2f}",
        over_the_link=f"{across[0]:.2f} there, {across[1]:.2f} back",
    )
    assert unknown == 0
    return max(across)


async def sent_by_zone(stage: Stage, node: Node) -> tuple[float, float, float]:
    """Bytes that its agent has sent to peers of its zone, of others, and of nobody knows which."""
    metrics = await stage.metrics(node)
    same, other, unknown = (
        metrics.total("registryd_peer_sent_bytes_total", zone=zone) for zone in ("same", "other", "unknown")
    )
    return same, other, unknown


async def zones_shown(stage: Stage) -> dict[str, int]:
    """How many nodes `registryd status` shows in each zone."""
    shown = await stage.shell("kubectl -n kube-system exec daemonset/registryd -c agent -- registryd status")
    return {zone: shown.count(f" {zone} ") for zone in ("zone-a", "zone-b")}


@pytest.mark.long
async def test_without_labels_of_pods(stage: Stage, seen: Callable[..., None]) -> None:
    """As with Kubernetes before 1.35: agents take their zone from their endpoint."""
    await stage.install(*TALKATIVE)
    plane, kubectl = stage.cluster.plane, stage.cluster.kubectl
    assert await labelled(stage) == len(stage.nodes)
    await plane.stop_api_server()
    await plane.start_api_server(f"--disable-admission-plugins={PLUGIN}")
    try:
        await stage.shell("kubectl -n kube-system rollout restart daemonset/registryd")
        await stage.shell("kubectl -n kube-system rollout status daemonset/registryd --timeout=300s")
        await kubectl.until(lambda: is_without_labels(stage), what="agents' pods without labels of zones")
        await stage.wait_acquainted()
        expected = {zone: sum(node.plan.zone == zone for node in stage.nodes) for zone in ("zone-a", "zone-b")}
        await kubectl.until(lambda: has_zones(stage, expected), what="all zones are known")
    finally:
        await plane.stop_api_server()
        await plane.start_api_server()
    said = await stage.shell("kubectl -n kube-system exec daemonset/registryd -c agent -- registryd doctor")
    assert "✗" not in said
    seen(
        "Zones", what="no labels of zones at pods, as before Kubernetes 1.35", agents="each knows its zone and others'"
    )


async def labelled(stage: Stage) -> int:
    pods = await stage.cluster.kubectl.find("pods", namespace="kube-system", selector=AGENTS)
    return sum(LABEL in pod["metadata"]["labels"] for pod in pods)


async def is_without_labels(stage: Stage) -> bool:
    return await labelled(stage) == 0


async def has_zones(stage: Stage, expected: dict[str, int]) -> bool:
    return await zones_shown(stage) == expected
