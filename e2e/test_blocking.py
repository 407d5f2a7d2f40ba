"""An image that must not spread is served and followed by nobody, seconds after it was listed, without a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lab.cluster import NodePlan, running_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(180)

# Promised is "within seconds": of the file at once, of what images consist of at the next look.
_HEEDED_SECONDS = 8


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_blocked_image_comes_from_the_origin_only(
    newest: Release, image: Image, tmp_path: Path, *, by_name: bool
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("# nothing yet\n")
    plan = NodePlan(newest, agent={"images": {"block_file": str(blocked)}})
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
        await asyncio.sleep(_HEEDED_SECONDS)
        await third.pull(reference)
        asked = {access.reference for access in cluster.origin.requests() if access.is_blob_transfer}
        assert asked == set(image.digests[2:])
        assert third.agent
        assert (await third.agent.metrics()).total("registryd_peer_received_bytes_total") == 0

        blocked.write_text("")
        await asyncio.sleep(_HEEDED_SECONDS)
        await second.remove(reference, *image.digests)
        cluster.origin.forget_requests()
        await second.pull(reference)
        assert not [access for access in cluster.origin.requests() if access.is_blob_transfer]
