"""Image volumes: an image and an OCI artifact, mounted by pods of all nodes at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from lab.artifacts import ArtifactRecipe, make_artifact
from lab.images import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

MIB = 1 << 20
# containerd mounts images as volumes since 2.1; the third node has 1.6.
VOLUME_NODES = 2


async def test_one_copy_comes_from_the_origin(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.install()
    program, _ = await stage.image("public", "demo/reader", mib=1)
    data, image = await stage.image("public", "models/weights", mib=200)
    nodes = stage.nodes[:VOLUME_NODES]
    before = [await resident(stage, node) for node in nodes]
    outcomes, seconds = await mounted(stage, nodes, program, data)
    after = [await resident(stage, node) for node in nodes]
    assert all(outcome == "runs" for outcome in outcomes), outcomes
    whole = sum(layer.size for layer in image.local.layers)
    requests = stage.registries["public"].requests()
    given = sum(each.sent for each in requests if each.is_blob_transfer and each.reference in image.digests)
    seen(
        "Image volumes",
        what=f"an image of {whole / 1e6:.0f} MB, by {len(nodes)} nodes at once",
        seconds=f"{seconds:.1f}",
        from_the_registry=f"{given / whole:.2f} copies",
        agents_grew_by=f"{max(now - then for now, then in zip(after, before, strict=True)) / MIB:.0f} MiB at most",
    )
    assert given < whole * 1.2
    assert all(now - then < 64 * MIB for now, then in zip(after, before, strict=True))


async def test_an_artifact(stage: Stage, seen: Callable[..., None]) -> None:
    """With an artifactType, and an image's config, without which containerd 2.4 refuses to unpack it."""
    await stage.install()
    program, image = await stage.image("public", "demo/artifact-reader", mib=1)
    layers = tuple((layer.media_type, image.layout.read(layer.digest)) for layer in image.local.layers)
    config = (CONFIG, image.layout.read(image.local.config.digest))
    recipe = ArtifactRecipe(layers, artifact_type="application/vnd.example.model", config=config)
    artifact = make_artifact(stage.folder / "artifact", recipe)
    reference = await stage.registries["public"].push(artifact, "models/artifact")
    outcomes, seconds = await mounted(stage, stage.nodes[:VOLUME_NODES], program, reference)
    assert all(outcome == "runs" for outcome in outcomes), outcomes
    seen("Image volumes", what="an OCI artifact with an image's config, by 2 nodes at once", seconds=f"{seconds:.1f}")


async def mounted(stage: Stage, nodes: list[Node], program: str, data: str) -> tuple[list[str], float]:
    """What becomes of a pod on each of these nodes that mounts the image, all at once."""
    volumes = [{"name": "data", "image": {"reference": data, "pullPolicy": "IfNotPresent"}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    began = time.monotonic()
    outcomes = await asyncio.gather(*(stage.pod(node, program, volumes=volumes, container=container) for node in nodes))
    return [f"{each}{': ' if each.message else ''}{each.message}" for each in outcomes], time.monotonic() - began


async def resident(stage: Stage, node: Node) -> float:
    return (await stage.metrics(node)).total("process_resident_memory_bytes")
