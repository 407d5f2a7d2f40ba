"""An image that must not spread is served and followed by nobody, seconds after it was listed, without a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.fetch import Request
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

# Promised is "within seconds": of the file at once, of what images consist of at the next look. The rest is for a
# machine that is busy.
_HEEDED_SECONDS = 8 + 45
# The layer takes 25 s: longer than it takes to be heeded. Over the floor of transfer.resume (256 KiB/s).
_PEER_MEGABITS = 8


async def wait_heeded(nodes: Sequence[Node], image: Image, status: int) -> None:
    """Return when the agents of all these nodes answer so for each blob; they have them all."""
    async with asyncio.timeout(_HEEDED_SECONDS):
        for node in nodes:
            assert node.agent
            for digest in image.digests[2:]:
                asked = Request(f"/v2/demo/app/blobs/{digest}?ns={ORIGIN}", "HEAD")
                while (await node.agent.ask_registry(asked)).status != status:  # noqa: ASYNC110 - nobody is told of it
                    await asyncio.sleep(0.1)


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_blocked_image_comes_from_the_origin_only(
    newest: Release, image: Image, tmp_path: Path, *, by_name: bool
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("# nothing yet\n")
    plan = NodePlan(newest, agent=merged(PATIENT, {"images": {"block_file": str(blocked)}}))
    async with running_cluster([plan] * 3) as cluster:
        first, second, third = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        cluster.origin.forget_requests()
        await second.pull(reference)
        assert not [access for access in cluster.origin.requests() if access.is_blob_transfer]

        new = tmp_path / "new"
        new.write_text("origin.lab/demo/*\n" if by_name else "".join(f"{digest}\n" for digest in image.digests))
        new.rename(blocked)
        await wait_heeded((first, second), image, 404)
        await third.pull(reference)
        asked = await cluster.origin.blob_transfers(expected=len(image.digests[2:]))
        assert {access.reference for access in asked} == set(image.digests[2:])
        assert third.agent
        assert (await third.agent.metrics()).total("registryd_peer_received_bytes_total") == 0

        blocked.write_text("")
        await wait_heeded((first, second), image, 200)
        await second.remove(reference, *image.digests)
        cluster.origin.forget_requests()
        await second.pull(reference)
        assert not [access for access in cluster.origin.requests() if access.is_blob_transfer]


async def test_what_is_being_sent_breaks_off_and_comes_from_the_origin(
    newest: Release, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = ImageRecipe(layers=(LayerRecipe(24 * MIB),), architectures=(local_architecture(),))
    image = make_image(tmp_path_factory.mktemp("large") / "layout", recipe)
    layer = image.local.layers[0]
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    plan = NodePlan(newest, agent=merged(PATIENT, {"images": {"block_file": str(blocked)}}))
    async with running_cluster([plan] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/large")
        await first.pull(reference)
        await first.host.limit(_PEER_MEGABITS)
        cluster.origin.forget_requests()
        pull = asyncio.create_task(second.pull(reference), name="pull")
        try:
            async with asyncio.timeout(60):
                while second.containerd.arrived(layer.digest) < MIB:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.01)
            blocked.write_text(f"{layer.digest}\n")
            await pull
        finally:
            pull.cancel()
        rest = await cluster.origin.blob_transfers(expected=1, blob=layer.digest)
        assert second.agent
        received = (await second.agent.metrics()).total("registryd_peer_received_bytes_total")
        assert [access.status for access in rest] == [206]
        assert MIB < received < layer.size
        print(f"{received / MIB:.1f} of {layer.size / MIB:.0f} MiB came from the peer before it was blocked")
