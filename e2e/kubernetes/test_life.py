"""What happens to a cluster in its life, and what pulls notice of it: nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.lab.node import Plan
from lab.errors import PullError
from lab.network import set_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.lab.pods import Outcome
    from e2e.kubernetes.stage import Stage
    from lab.images import Image
    from lab.network import Trunk

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "A cluster's life"
LINK_MEGABITS = 50
KUBELET_RETRIES_SECONDS = 10
TALKATIVE = ("--set", "log.level=debug")  # for the report of a test that fails


async def spread(stage: Stage, node: Node, name: str) -> tuple[str, Image]:
    """A new image of the public registry, which this node has and no other."""
    reference, image = await stage.image("public", f"life/{name}")
    await node.images.pull(reference)
    await stage.wait_public(node, reference)
    return reference, image


async def pull_without_registry(stage: Stage, node: Node, reference: str) -> float:
    """Pull on a node with the registry off, as a kubelet would; how long it took.

    An agent that has just heard from the registry leaves a tag to it for some seconds: then the second try succeeds.
    """
    registry = stage.registries["public"]
    await registry.front.stop()
    began = time.monotonic()
    try:
        try:
            await node.images.pull(reference)
        except PullError:
            await asyncio.sleep(KUBELET_RETRIES_SECONDS)
            await node.images.pull(reference)
    except PullError:
        print(await agent_logs(stage))
        raise
    finally:
        await registry.front.start()
    return time.monotonic() - began


async def agent_logs(stage: Stage) -> str:
    """What the agents said last, for the report of a test that fails."""
    selector = "app.kubernetes.io/component=agent"
    return await stage.cluster.kubectl(
        *("-n", "kube-system", "logs", "-l", selector, "-c", "agent"), "--prefix", "--tail=200", "--ignore-errors"
    )


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


async def test_a_new_node_serves(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install(*TALKATIVE)
    cluster = stage.cluster
    plan = Plan("node-d", stage.nodes[0].plan.release, "zone-b")
    await cluster.start(plan)
    node = cluster.node("node-d")
    stage.configure(node)
    await stage.load(node)
    began = time.monotonic()
    await cluster.join(node)
    await stage.wait_acquainted()
    seconds = time.monotonic() - began
    # Both before the registry is off: for a while after an outage agents do not ask it again.
    reference, _ = await spread(stage, node, "new-node")
    other, _ = await spread(stage, stage.nodes[0], "for-new-node")
    taking = await pull_without_registry(stage, stage.nodes[0], reference)
    giving = await pull_without_registry(stage, node, other)
    seen(TABLE, what="a node is added", seen="all agents reach its agent, and it them", seconds=f"{seconds:.0f}")
    what = "and gives to another and gets from it, registry off since a moment ago"
    seen(TABLE, what=what, seen="the kubelet's second try at the latest", seconds=f"{taking:.1f}, {giving:.1f}")


async def test_zones(stage: Stage, seen: Callable[..., None]) -> None:
    """Two nodes in each of two zones pull at once; what goes from zone to zone is what costs, and takes long."""
    await stage.install(*TALKATIVE)
    if all(node.name != "node-d" for node in stage.nodes):
        pytest.skip("runs after the node was added")
    shown = await stage.shell("kubectl -n kube-system exec daemonset/registryd -c agent -- registryd status")
    assert {zone: shown.count(f" {zone} ") for zone in ("zone-a", "zone-b")} == {"zone-a": 2, "zone-b": 2}
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


async def test_a_node_dies_and_is_deleted(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install(*TALKATIVE)
    cluster = stage.cluster
    if all(node.name != "node-d" for node in stage.nodes):
        pytest.skip("runs after the node was added")
    node = cluster.node("node-d")
    reference, _ = await spread(stage, stage.nodes[0], "dead-node")
    await cluster.remove(node)
    try:
        seconds = await pull_without_registry(stage, stage.nodes[1], reference)
    finally:  # what comes afterwards would wait for it
        await cluster.kubectl("delete", "node", "node-d")
    what = "another pulls from a third, registry off"
    seen(TABLE, what="a node loses its power", seen=what, seconds=f"{seconds:.1f}")
    gone = await cluster.kubectl.until(lambda: is_gone(stage, node), what="node-d is no endpoint", timeout=240)
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
