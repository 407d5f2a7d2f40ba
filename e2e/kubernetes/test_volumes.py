"""Image volumes: an image and an OCI artifact, mounted by pods of all nodes at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.fourth_node import fourth_node
from e2e.kubernetes.outages import TALKATIVE
from lab.artifacts import ArtifactRecipe, make_artifact
from lab.images import CONFIG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1800)]

MIB = 1 << 20
# Another size by hand, such as 5120: figures of that are in docs/kubernetes.md, too.
SIZE_MIB = int(os.environ.get("KUBERNETES_VOLUME_MIB", "200"))
SECONDS = 1500
_LOOK_SECONDS = 0.2


async def volume_nodes(stage: Stage) -> list[Node]:
    """Three: containerd mounts images as volumes since 2.1, and the third node has 1.6."""
    await stage.install(*TALKATIVE)
    await fourth_node(stage)
    return [node for node in stage.nodes if node.plan.release.version >= (2, 1, 0)]


async def test_one_copy_comes_from_the_origin(stage: Stage, seen: Callable[..., None]) -> None:
    nodes = await volume_nodes(stage)
    program, _ = await stage.image("public", "demo/reader", mib=1)
    data, image = await stage.image("public", "models/weights", mib=SIZE_MIB)
    async with peaks_of(stage, nodes) as grown:
        outcomes, seconds = await mounted(stage, nodes, program, data)
    assert outcomes == ["runs"] * 3
    whole = sum(layer.size for layer in image.local.layers)
    requests = stage.registries["public"].requests()
    given = sum(each.sent for each in requests if each.is_blob_transfer and each.reference in image.digests)
    seen(
        "Image volumes",
        what=f"an image of {whole / 1e6:.0f} MB, by {len(nodes)} nodes at once",
        seconds=f"{seconds:.1f}",
        from_the_registry=f"{given / whole:.2f} copies",
        agents_grew_by=f"{max(grown.values()) / MIB:.0f} MiB at most",
    )
    assert given < whole * 1.2
    assert all(each < 64 * MIB for each in grown.values()), grown


@contextlib.asynccontextmanager
async def peaks_of(stage: Stage, nodes: list[Node]) -> AsyncIterator[dict[str, float]]:
    """By how much each node's agent was larger than at the beginning when it was largest; complete after the block."""
    first = {node.name: await resident(stage, node) for node in nodes}
    grown = dict.fromkeys(first, 0.0)

    async def look() -> None:
        while True:
            for node in nodes:
                grown[node.name] = max(grown[node.name], await resident(stage, node) - first[node.name])
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look(), name="look at the agents' memory")
    try:
        yield grown
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def test_an_artifact(stage: Stage, seen: Callable[..., None]) -> None:
    """With an artifactType, and an image's config, without which containerd 2.4 refuses to unpack it."""
    nodes = await volume_nodes(stage)
    program, image = await stage.image("public", "demo/artifact-reader", mib=1)
    layers = tuple((layer.media_type, image.layout.read(layer.digest)) for layer in image.local.layers)
    config = (CONFIG, image.layout.read(image.local.config.digest))
    recipe = ArtifactRecipe(layers, artifact_type="application/vnd.example.model", config=config)
    artifact = make_artifact(stage.folder / "artifact", recipe)
    reference = await stage.registries["public"].push(artifact, "models/artifact")
    outcomes, seconds = await mounted(stage, nodes, program, reference)
    assert outcomes == ["runs"] * 3
    seen("Image volumes", what="an OCI artifact with an image's config, by 3 nodes at once", seconds=f"{seconds:.1f}")


async def mounted(stage: Stage, nodes: list[Node], program: str, data: str) -> tuple[list[str], float]:
    """What becomes of a pod on each of these nodes that mounts the image, all at once."""
    volumes = [{"name": "data", "image": {"reference": data, "pullPolicy": "IfNotPresent"}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    began = time.monotonic()
    options = {"volumes": volumes, "container": container, "timeout": SECONDS}
    outcomes = await asyncio.gather(*(stage.pod(node, program, **options) for node in nodes))
    return [f"{each}{': ' if each.message else ''}{each.message}" for each in outcomes], time.monotonic() - began


async def resident(stage: Stage, node: Node) -> float:
    return (await stage.metrics(node)).total("process_resident_memory_bytes")
