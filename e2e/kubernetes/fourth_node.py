"""A node that a cluster gets in its life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.kubernetes.lab.node import Plan

if TYPE_CHECKING:
    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage

NAME = "node-d"


async def fourth_node(stage: Stage) -> Node:
    """It is in the cluster and its agent is known: a second one of zone-b, with the newer containerd."""
    if not has_fourth_node(stage):
        await join(stage, await prepare(stage))
    return stage.cluster.node(NAME)


def has_fourth_node(stage: Stage) -> bool:
    return any(node.name == NAME for node in stage.nodes)


async def prepare(stage: Stage) -> Node:
    """As an administrator does, before the API server knows of it."""
    node = await stage.cluster.start(Plan(NAME, stage.nodes[0].plan.release, "zone-b"))
    stage.configure(node)
    await stage.load(node)
    return node


async def join(stage: Stage, node: Node) -> None:
    """Return when all agents reach its agent, and it them."""
    await stage.cluster.join(node)
    await stage.wait_acquainted()
