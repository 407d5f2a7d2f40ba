"""What one node has, every node can pull: real containerds, each in its own network namespace."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT, REGISTRY
from lab.artifacts import cosign_signature, helm_chart, in_toto_statement, make_artifact
from lab.cluster import ORIGIN, Cluster, NodePlan, running_cluster
from lab.commands import run
from lab.containerd_config import Mirror
from lab.errors import PullError
from lab.fetch import Request
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

UPSTREAM_DECIDES = {"authorization": {"mode": "upstream"}}


@asynccontextmanager
async def cluster_of(*plans: NodePlan) -> AsyncIterator[Cluster]:
    patient = [replace(plan, agent=merged(PATIENT, plan.agent or {})) for plan in plans]
    async with running_cluster(patient) as cluster:
        yield cluster


async def blob_transfers(cluster: Cluster, image: Image) -> list[str]:
    """The blobs that the origin gave; all of the image are expected."""
    return [access.reference for access in await cluster.origin.blob_transfers(expected=len(image.digests) - 2)]


async def bytes_from_peers(node: Node) -> float:
    assert node.agent
    return (await node.agent.metrics()).total("registryd_sent_bytes_total", source="peer")


def size_of(image: Image) -> int:
    return image.local.config.size + sum(layer.size for layer in image.local.layers)


@pytest.mark.every_series
async def test_an_image_of_one_node_is_pulled_by_the_others_without_the_origin(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 3) as cluster:
        first, second, third = cluster.nodes
        by_tag = await cluster.push(image, "demo/app")
        await first.pull(by_tag)
        assert set(await blob_transfers(cluster, image)) == set(image.digests[2:])
        await cluster.origin.stop()

        began = time.monotonic()
        await second.pull(f"{ORIGIN}/demo/app@{image.root.digest}")
        await third.pull(by_tag)
        print(f"{release}: two pulls without the origin in {time.monotonic() - began:.2f} s")

        for node in (second, third):
            assert all(map(node.containerd.has_blob, image.digests))
            assert await bytes_from_peers(node) >= size_of(image)


async def test_where_the_upstream_decides_it_is_asked_for_the_name_and_for_no_blob(
    release: Release, image: Image
) -> None:
    async with cluster_of(*[NodePlan(release, agent=UPSTREAM_DECIDES)] * 3) as cluster:
        first, second, third = cluster.nodes
        by_tag = await cluster.push(image, "demo/app")
        await first.pull(by_tag)
        cluster.origin.blobs_off()
        cluster.origin.forget_requests()

        await second.pull(f"{ORIGIN}/demo/app@{image.root.digest}")
        await third.pull(by_tag)

        requests = cluster.origin.requests()
        assert not [access for access in requests if access.kind == "blobs"]
        assert {access.method for access in requests} == {"HEAD"}


async def test_what_nobody_has_comes_from_the_origin(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 3) as cluster:
        reference = await cluster.push(image, "demo/new")
        began = time.monotonic()
        await cluster.nodes[1].pull(reference)
        print(f"{release}: a pull that the cluster cannot serve took {time.monotonic() - began:.2f} s")
        assert await bytes_from_peers(cluster.nodes[1]) == 0
        assert len(await blob_transfers(cluster, image)) == len(image.digests) - 2


@pytest.mark.every_series
async def test_the_next_mirror_with_a_path_of_its_own_works_behind_ours(release: Release, image: Image) -> None:
    async with cluster_of(NodePlan(release)) as cluster:
        (node,) = cluster.nodes
        await cluster.origin.push(image, "proxy/demo/app")
        harbor = Mirror(f"{cluster.origin.url}/v2/proxy", override_path=True)
        node.containerd.write_hosts("other.lab", Mirror(f"http://{REGISTRY}"), harbor, server="http://10.77.255.1")
        await node.pull("other.lab/demo/app:v1")
        assert {access.repository for access in cluster.origin.requests() if access.is_read} == {"proxy/demo/app"}


@pytest.mark.every_series
async def test_default_hosts_lead_to_us_as_well(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        await first.containerd.import_archive(image.archive(), "anything.lab/demo/app")
        await first.containerd.wait_image("anything.lab/demo/app:v1")
        second.containerd.write_hosts("_default", Mirror(f"http://{REGISTRY}"), server="http://10.77.255.1")
        await second.pull("anything.lab/demo/app:v1")
        assert await bytes_from_peers(second) >= size_of(image)


async def test_imported_images_travel(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        await cluster.origin.stop()
        await first.containerd.import_archive(image.archive(), f"{ORIGIN}/demo/imported")
        await first.containerd.wait_image(f"{ORIGIN}/demo/imported:v1")
        await second.pull(f"{ORIGIN}/demo/imported:v1")
        assert all(map(second.containerd.has_blob, image.digests))


async def test_images_of_one_platform_from_a_stick_travel(release: Release, image: Image, tmp_path: Path) -> None:
    """As an air gap's cache has them: what `export --partly` writes, a node's own ctr takes."""
    reference, stick = f"{ORIGIN}/demo/imported:v1", tmp_path / "stick.tar"
    registryd = (sys.executable, "-m", "registryd")
    store = ("--store.kind", "directory", "--store.directory", str(tmp_path / "store"))
    await run(*registryd, "import", str(image.archive()), "--name", reference, *store)
    for other in (each for each in image.manifests if each != image.local):
        (tmp_path / "store/blobs/sha256" / other.blob.digest.removeprefix("sha256:")).unlink()
    assert "was not there" in await run(*registryd, "export", str(stick), "--partly", *store)
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        await cluster.origin.stop()
        await first.containerd.ctr("images", "import", str(stick))
        await first.containerd.wait_image(reference)
        await second.pull(reference)
        assert all(map(second.containerd.has_blob, image.digests))


async def test_images_imported_into_a_directory_travel(release: Release, image: Image, tmp_path: Path) -> None:
    directory = {"kind": "directory", "directory": str(tmp_path / "store")}
    async with cluster_of(NodePlan(release, agent={"store": directory}), NodePlan(release)) as cluster:
        second = cluster.nodes[1]
        await cluster.origin.stop()
        reference = f"{ORIGIN}/demo/imported:v1"
        store = (f"--store.{key}={value}" for key, value in directory.items())
        await run(sys.executable, "-m", "registryd", "import", str(image.archive()), "--name", reference, *store)
        await second.pull(reference)
        assert await bytes_from_peers(second) >= size_of(image)


async def test_artifacts_of_any_type_travel(
    release: Release, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("artifacts")
    recipes = {
        "charts/app": helm_chart(),
        "demo/signature": cosign_signature(image.root),
        "demo/attestation": in_toto_statement(image.root),
    }
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        for number, (repository, recipe) in enumerate(recipes.items()):
            artifact = make_artifact(folder / str(number), recipe)
            name = f"{ORIGIN}/{repository}"
            await first.containerd.import_archive(artifact.archive(), name)
            manifest = artifact.manifests[0]
            assert second.agent
            head = await second.agent.ask_registry(
                Request(f"/v2/{repository}/manifests/{artifact.tag}?ns={ORIGIN}", "HEAD")
            )
            assert (head.status, head.headers["content-type"]) == (200, manifest.blob.media_type)
            for blob in (manifest.config, *manifest.layers):
                answer = await second.agent.ask_registry(Request(f"/v2/{repository}/blobs/{blob.digest}?ns={ORIGIN}"))
                assert (answer.status, answer.headers["content-type"]) == (200, blob.media_type)
                assert answer.body == artifact.layout.read(blob.digest)


async def test_without_its_agent_a_node_pulls_from_the_origin(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        assert second.agent
        assert first.agent
        await second.agent.stop()
        await first.agent.kill()
        await second.pull(reference)
        await first.remove(reference, *image.digests)
        await first.pull(reference)


async def test_an_agent_recovers_when_its_containerd_is_restarted(release: Release, image: Image) -> None:
    async with cluster_of(*[NodePlan(release)] * 2) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        await first.containerd.kill()
        await first.containerd.start()
        assert first.agent
        await first.agent.process.wait_ready(first.agent.is_ready)
        await cluster.origin.stop()
        await second.pull(reference)
        assert await bytes_from_peers(second) >= size_of(image)


async def test_versions_may_be_mixed(releases: tuple[Release, ...], image: Image) -> None:
    plans = [NodePlan(release) for release in releases]
    for puller in range(len(plans)):
        async with cluster_of(*plans) as cluster:
            giver = cluster.nodes[(puller + 1) % len(plans)]
            reference = await cluster.push(image, "demo/app")
            await giver.pull(reference)
            await cluster.origin.stop()
            await cluster.nodes[puller].pull(reference)
            assert await bytes_from_peers(cluster.nodes[puller]) >= size_of(image)


async def test_a_tag_that_nobody_knows_is_reported_as_not_found(release: Release) -> None:
    async with cluster_of(NodePlan(release)) as cluster:
        with pytest.raises(PullError, match="not found"):
            await cluster.nodes[0].pull(f"{ORIGIN}/demo/absent:v1")


async def test_several_namespaces_are_served(release: Release, image: Image) -> None:
    both = {"store": {"namespaces": ["k8s.io", "default"]}}
    async with cluster_of(NodePlan(release, agent=both), NodePlan(release)) as cluster:
        first, second = cluster.nodes
        archive = str(image.archive())
        await first.containerd.ctr(
            "images",
            "import",
            "--all-platforms",
            "--no-unpack",
            "--base-name",
            f"{ORIGIN}/demo/app",
            archive,
            namespace="default",
        )
        await cluster.origin.stop()
        await second.pull(f"{ORIGIN}/demo/app:v1")
        assert await bytes_from_peers(second) >= size_of(image)
