"""Images that are brought to nodes wave by wave, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.stage import CHECKOUT, NAMESPACE
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


async def test_lists_go_to_their_own_nodes_and_the_state_of_each_image_is_seen(stage: Stage) -> None:
    everywhere, _ = await stage.image("public", "base/everywhere")
    here, _ = await stage.image("public", "base/of-one-node")
    missing = f"{stage.registries['public'].name}/base/not-there:v1"
    node, *others = stage.nodes
    lists = {
        "one-node": {"images": [here], "by": "agent", "nodeSelector": {"kubernetes.io/hostname": node.name}},
        "broken": {"images": [missing, everywhere], "nodeSelector": {"kubernetes.io/hostname": others[0].name}},
    }
    await stage.install("--values", list_file(stage, "lists", [everywhere], lists=lists))
    await stage.shell(WAIT)
    await stage.shell(WAIT.replace("registryd-prefetch", "registryd-prefetch-one-node"))
    assert [here in await each.images.tags() for each in (node, *others)] == [True, *(False for _ in others)]
    async with asyncio.timeout(120):
        while f"{others[0].name} {missing}: " not in (said := await stage.shell(states_command())) or (  # noqa: ASYNC110
            "ErrImagePull" not in said and "ImagePullBackOff" not in said
        ):
            await asyncio.sleep(1)
    lines = said.splitlines()
    print(said)
    assert {f"{each.name} {everywhere}: there" for each in stage.nodes} <= set(lines)
    assert f"{node.name}: 1 of 1 images" in lines
    assert f"{others[0].name} {everywhere}: PodInitializing" in lines
    await stage.install()


def states_command() -> str:
    """As docs/images.md has it."""
    blocks = (CHECKOUT / "docs/images.md").read_text().split("```")
    (command,) = [each for each in blocks if "registryd/prefetch -o go-template" in each]
    return textwrap.dedent(command).strip()


def list_file(stage: Stage, name: str, images: list[str], **values: object) -> str:
    path = stage.folder / f"{name}.json"
    path.write_text(json.dumps({"prefetch": {"images": images, "by": "kubelet", "maxUnavailable": 1, **values}}))
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
