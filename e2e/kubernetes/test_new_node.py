"""A node is added: it takes and gives as the others do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.fourth_node import has_fourth_node, join, prepare
from e2e.kubernetes.outages import TALKATIVE, pull_without_registry, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "A cluster's life"


async def test_a_new_node_serves(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install(*TALKATIVE)
    assert not has_fourth_node(stage)
    node = await prepare(stage)
    began = time.monotonic()
    await join(stage, node)
    seconds = time.monotonic() - began
    # Both before the registry is off: for a while after an outage agents do not ask it again.
    reference, _ = await spread(stage, node, "new-node")
    other, _ = await spread(stage, stage.nodes[0], "for-new-node")
    taking = await pull_without_registry(stage, stage.nodes[0], reference)
    giving = await pull_without_registry(stage, node, other)
    seen(TABLE, what="a node is added", seen="all agents reach its agent, and it them", seconds=f"{seconds:.0f}")
    what = "and gives to another and gets from it, registry off since a moment ago"
    seen(TABLE, what=what, seen="the kubelet's second try at the latest", seconds=f"{taking:.1f}, {giving:.1f}")
