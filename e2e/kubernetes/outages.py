"""An image that one node has and no other, and pulls of it while its registry is off."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from lab.errors import PullError

if TYPE_CHECKING:
    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage
    from lab.images import Image

TALKATIVE = ("--set", "log.level=debug")  # for the report of a test that fails
_KUBELET_RETRIES_SECONDS = 10


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
            await asyncio.sleep(_KUBELET_RETRIES_SECONDS)
            await node.images.pull(reference)
    except PullError:
        print(await stage.agent_logs())
        raise
    finally:
        await registry.front.start()
    return time.monotonic() - began
