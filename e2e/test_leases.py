"""Layers stay shareable where containerd throws them away (`discard_unpacked_layers`, as on Talos)."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import NodePlan, running_cluster
from lab.commands import run
from lab.containerd_config import Options
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

DISCARDING = Options(discard_unpacked_layers=True)
# The pull is over and the garbage collector has been by several times. A minute makes no other difference.
_LATER_SECONDS = 5.0


def layers(image: Image) -> list[str]:
    return [blob.digest for blob in image.local.layers]


def fetched_from_origin(cluster: Cluster) -> set[str]:
    return {access.reference for access in cluster.origin.requests() if access.is_blob_transfer}


async def leases(node: Node) -> list[str]:
    return [line.split()[0] for line in (await node.containerd.ctr("leases", "ls")).splitlines()[1:] if line.strip()]


async def wait_no_lease(node: Node) -> None:
    async with asyncio.timeout(60):
        while [lease for lease in await leases(node) if lease.startswith("registryd-layers")]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_without_a_budget_they_are_gone(release: Release, image: Image) -> None:
    """What is to be prevented does happen."""
    async with running_cluster([NodePlan(release, DISCARDING, {"store": {"keep_layers": "0B"}})]) as cluster:
        (node,) = cluster.nodes
        await node.pull(await cluster.push(image, "demo/app"))
        await node.containerd.wait_blobs_gone(*layers(image))
        assert node.containerd.has_blob(image.local.blob.digest)


async def test_another_node_pulls_the_layers_from_this_one_and_they_go_with_the_image(
    release: Release, image: Image
) -> None:
    async with running_cluster([NodePlan(release, DISCARDING, PATIENT)] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        await asyncio.sleep(_LATER_SECONDS)
        assert all(map(first.containerd.has_blob, layers(image)))

        cluster.origin.forget_requests()
        await second.pull(reference)
        assert not fetched_from_origin(cluster)

        began = time.monotonic()
        await first.remove(reference, *layers(image))
        print(f"{release}: layers are gone {time.monotonic() - began:.1f} s after their image")


async def test_what_is_kept_survives_agents_and_containerds(release: Release, image: Image) -> None:
    async with running_cluster([NodePlan(release, DISCARDING, PATIENT)] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        assert first.agent
        await first.agent.kill()
        await first.containerd.restart()
        await first.agent.start()
        await asyncio.sleep(1)
        assert all(map(first.containerd.has_blob, layers(image)))
        assert len([each for each in await leases(first) if each.startswith("registryd-layers")]) == 1

        await cluster.wait_acquainted()
        cluster.origin.forget_requests()
        await second.pull(reference)
        assert not fetched_from_origin(cluster)
        await first.remove(reference, *layers(image))


async def test_the_budget_holds(release: Release, tmp_path: Path) -> None:
    recipes = [ImageRecipe(layers=(LayerRecipe(MIB), LayerRecipe(MIB)), seed=f"budget {n}") for n in range(3)]
    images = [make_image(tmp_path / str(number), recipe) for number, recipe in enumerate(recipes)]
    async with running_cluster([NodePlan(release, DISCARDING, {"store": {"keep_layers": "3MiB"}})]) as cluster:
        (node,) = cluster.nodes
        for number, image in enumerate(images):
            await node.pull(await cluster.push(image, f"demo/app{number}"))
            await asyncio.sleep(0.5)
        # Of the first image nothing is left, which a busy machine takes its time for.
        await node.containerd.wait_blobs_gone(*layers(images[0]))
        await asyncio.sleep(_LATER_SECONDS)
        kept = [[node.containerd.has_blob(digest) for digest in layers(image)] for image in images]
        assert sum(map(sum, kept)) <= 2
        assert any(kept[-1])


async def test_nothing_is_leased_where_nothing_is_discarded(release: Release, image: Image) -> None:
    async with running_cluster([NodePlan(release)]) as cluster:
        (node,) = cluster.nodes
        await node.pull(await cluster.push(image, "demo/app"))
        await asyncio.sleep(1)
        assert not [each for each in await leases(node) if each.startswith("registryd")]


@pytest.mark.parametrize("command", ["release", "uninstall"])
async def test_what_was_kept_is_left_to_containerd(
    release: Release, image: Image, tmp_path: Path, command: str
) -> None:
    async with running_cluster([NodePlan(release, DISCARDING)]) as cluster:
        (node,) = cluster.nodes
        await node.pull(await cluster.push(image, "demo/app"))
        await asyncio.sleep(1)
        assert all(map(node.containerd.has_blob, layers(image)))
        assert node.agent
        await node.agent.stop()
        words = [command, "--config", str(node.agent.folder / "agent.toml")]
        if command == "uninstall":
            words += ["--containerd-config", str(node.containerd.places.config), "--state", str(tmp_path / "state")]
        assert "kept layers are freed" in await run(sys.executable, "-m", "registryd", *words)
        await node.containerd.wait_blobs_gone(*layers(image))
        assert not [each for each in await leases(node) if each.startswith("registryd")]


async def test_an_uninstall_for_another_release_takes_nothing_from_this_one(
    release: Release, image: Image, tmp_path: Path
) -> None:
    async with running_cluster([NodePlan(release, DISCARDING)]) as cluster:
        (node,) = cluster.nodes
        await node.pull(await cluster.push(image, "demo/app"))
        await asyncio.sleep(1)
        assert node.agent
        await node.agent.stop()
        kept = [each for each in await leases(node) if each.startswith("registryd")]
        assert kept

        async def registryd(command: str, owner: str) -> str:
            where = ["--containerd-config", str(node.containerd.places.config), "--state", str(tmp_path / "state")]
            settings = ["--config", str(node.agent.folder / "agent.toml")] if node.agent else []
            return await run(sys.executable, "-m", "registryd", command, *settings, *where, "--owner", owner)

        await registryd("install", "kube-system/first")
        assert "is set up for the release kube-system/first" in await registryd("uninstall", "images/second")
        assert [each for each in await leases(node) if each.startswith("registryd")] == kept
        assert "kept layers are freed" in await registryd("uninstall", "kube-system/first")
        await node.containerd.wait_blobs_gone(*layers(image))
