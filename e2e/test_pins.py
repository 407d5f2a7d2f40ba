"""Images of a list stay: containerd's CRI says that they are pinned, which the kubelet's garbage collection heeds."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest

from lab.cluster import NodePlan, running_cluster
from lab.commands import run
from lab.errors import CommandError
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = [pytest.mark.timeout(300), pytest.mark.every_series]


async def registryd(node: Node, *words: str) -> str:
    socket = ("--containerd-socket", str(node.containerd.places.socket))
    return await run(sys.executable, "-m", "registryd", *words, *socket)


async def wait_pinned(node: Node, *references: str) -> None:
    async with asyncio.timeout(30):
        while await node.containerd.images.pinned() != set(references):  # noqa: ASYNC110 - CRI has no event for it
            await asyncio.sleep(0.05)


async def test_a_list_is_pinned_and_let_go_again(release: Release, image: Image, tmp_path: Path) -> None:
    recipe = ImageRecipe(layers=(LayerRecipe(MIB),), architectures=(local_architecture(),), seed="other")
    other = make_image(tmp_path / "other", recipe)
    async with running_cluster([NodePlan(release)]) as cluster:
        (node,) = cluster.nodes
        first, second = await cluster.push(image, "demo/first"), await cluster.push(other, "demo/second")
        lists = tmp_path / "images.txt"
        lists.write_text(f"{first}\n{second}\n")
        into = ("--images", str(lists), "--into", "containerd", "--json", "--pin")

        if release.version < (1, 7):
            with pytest.raises(CommandError, match="does not heed the label that pins"):
                await registryd(node, "prefetch", *into)
            assert json.loads(await registryd(node, "pins", "--json")) == {"images": []}
            assert await registryd(node, "pins") == "no image of this node is pinned\n"
            return
        document = json.loads(await registryd(node, "prefetch", *into))
        assert [each["pinned"] for each in document["images"]] == [True, True]
        await wait_pinned(node, first, second)
        print(await registryd(node, "pins"))

        # The list changes: what is no longer on it may go.
        lists.write_text(f"{second}\n")
        await registryd(node, "prefetch", *into, "--unpin-others")
        listed = json.loads(await registryd(node, "pins", "--json"))
        assert [each["pinned_for"] for each in listed["images"] if each["pinned_for"]] == [{"list": [second]}]

        # Another pull of the image does not take the pin away; a restart of containerd does neither.
        await node.pull(second)
        await node.containerd.restart()
        async with asyncio.timeout(30):
            while second not in await node.containerd.images.pinned():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        assert "1 image let go" in await registryd(node, "unpin", "--match", "origin.lab/demo/*")
        await wait_pinned(node)
