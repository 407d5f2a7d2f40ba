"""The outage promise, in pods: with its registry off, what one node has every node can pull."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

WAYS = {
    "public": "TLS by a company's authority",
    "mirrored": "a mirror; the registry itself cannot be reached",
    "plain": "plain HTTP",
}


@pytest.mark.parametrize("kind", WAYS)
async def test_nodes_that_lack_an_image_pull_it(stage: Stage, seen: Callable[..., None], kind: str) -> None:
    await stage.install()
    registry = stage.registries[kind]
    reference, image = await stage.image(kind, "demo/app")
    assert (await stage.pod(stage.nodes[0], reference)).runs
    await stage.wait_public(stage.nodes[0], reference)
    await registry.front.stop()
    try:
        for node in stage.nodes[1:]:
            before = await stage.from_peers(node)
            outcome = await stage.pod(node, reference)
            got = await stage.from_peers(node) - before
            assert outcome.runs, outcome.message
            assert got >= sum(layer.size for layer in image.local.layers)
            seen(
                "A registry is off, node-a has the image",
                nodes_reach_it_by=WAYS[kind],
                node=node.name,
                without_registryd="ErrImagePull",
                with_registryd=str(outcome),
                seconds=f"{outcome.seconds:.1f}",
                from_peers=f"{got / 1e6:.1f} MB",
            )
    finally:
        await registry.front.start()
