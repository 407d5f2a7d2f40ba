"""Images that are brought to nodes wave by wave, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.stage import NAMESPACE
from e2e.kubernetes.test_prefetch import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def test_a_new_list_comes_in_waves(stage: Stage, seen: Callable[..., None]) -> None:
    """To one node after the other, while `kubectl get pods` tells how far each is."""
    first, _ = await stage.image("public", "base/first")
    pairs = [await stage.image("public", f"base/wave-{number}", mib=16) for number in range(3)]
    await stage.install("--values", list_file(stage, "before", [first]))
    await stage.shell(WAIT)
    watched = Watched()
    watching = asyncio.create_task(watched.look(stage), name="look at the pods that prefetch")
    try:
        await stage.install("--values", list_file(stage, "after", [first, *(reference for reference, _ in pairs)]))
        await stage.shell(WAIT)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    for node in stage.nodes:
        assert {reference for reference, _ in pairs} <= await node.images.tags()
    asked = [each for each in stage.registries["public"].requests() if each.is_blob_transfer]
    whole = sum(layer.size for _, image in pairs for layer in image.local.layers)
    digests = {digest for _, image in pairs for digest in image.digests}
    copies = sum(each.sent for each in asked if each.reference in digests) / whole
    print(watched)
    assert watched.most == 1
    assert len(watched.progress) > 1
    assert copies < 1.2
    seen(
        "Prefetched images",
        what="three new images in the list of three nodes, `prefetch.by: kubelet`, `prefetch.maxUnavailable: 1`",
        nodes_at_a_time=watched.most,
        kubectl_get_pods_tells=", ".join(sorted(watched.progress)),
        copies_from_the_registry=f"{copies:.2f}",
    )


def list_file(stage: Stage, name: str, images: list[str]) -> str:
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps({"prefetch": {"images": images, "by": "kubelet", "maxUnavailable": 1}}))
    return str(path)


@dataclass
class Watched:
    """What `kubectl` told while the pods came: how many nodes lacked a ready one at once, and how far each was."""

    most: int = 0
    progress: set[str] = field(default_factory=set)

    async def look(self, stage: Stage) -> None:
        """Until it is cancelled."""
        kubectl = stage.cluster.kubectl
        while True:
            of_all = await kubectl.get("daemonset", "registryd-prefetch", namespace=NAMESPACE)
            self.most = max(self.most, of_all["status"].get("numberUnavailable", 0))
            shown = await kubectl("-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=prefetch")
            self.progress.update(re.findall(r"Init:\d+/\d+", shown))
