"""What a node is still receiving is passed on while it arrives: real containerds behind limited links."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from lab.agent import PATIENT
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.fetch import Request, fetch
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.toml_text import merged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from lab.access_log import Access
    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.layout import Blob
    from lab.versions import Release

pytestmark = pytest.mark.timeout(300)

# The origin's link at first: the layer below takes 24 s over it, so that a machine may be busy for long between two
# steps and the layer is still arriving. Over the floor of transfer.resume (256 KiB/s).
SLOW_MEGABITS = 8
# And once a test has seen what it wants to see arriving.
MEGABITS = 64
LAYER_BYTES = 24 * MIB
# What a busy machine is given besides what is promised. Less than the 15 s after which a reader asks its source.
LOADED_SECONDS = 10


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """One layer, for this machine."""
    recipe = ImageRecipe(layers=(LayerRecipe(LAYER_BYTES),), architectures=(local_architecture(),))
    return make_image(tmp_path_factory.mktemp("large") / "layout", recipe)


def knowing(release: Release, *numbers: int) -> NodePlan:
    """A node that knows these nodes and no others. The lab counts addresses from the origin, which is the first."""
    peers = [f"10.77.0.{number + 1}:3173" for number in numbers]
    return NodePlan(release, agent=merged(PATIENT, {"discovery": {"peers": peers}}))


@asynccontextmanager
async def cluster_of(*plans: NodePlan) -> AsyncIterator[Cluster]:
    async with running_cluster(plans) as cluster:
        await cluster.origin_host.limit(SLOW_MEGABITS)
        yield cluster


async def wait_arrived(node: Node, blob: Blob, *, more_than: int = 0) -> None:
    async with asyncio.timeout(60):
        while node.containerd.arrived(blob.digest) <= more_than:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)


async def wait_given_up(node: Node, blob: Blob) -> float:
    """When it was."""
    async with asyncio.timeout(60):
        while node.containerd.arrived(blob.digest) >= 0:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.002)
    return time.monotonic()


async def bytes_of(node: Node, path: str) -> bytes:
    """The whole answer of a node's bytes door, asked from its own host."""
    request = Request(f"http://{node.host.ipv4}:3174{path}", timeout=30)
    answer = await fetch(request, namespace=node.host.namespace)
    assert answer.status == 200
    return answer.body


async def finished(pull: asyncio.Task[str]) -> float:
    """When the pull was over, and successful."""
    await pull
    return time.monotonic()


async def transfers(cluster: Cluster, blob: Blob, *, client: str = "") -> Sequence[Access]:
    """What the origin gave of the blob, to all clients or to one; something is expected."""
    return await cluster.origin.blob_transfers(expected=1, blob=blob.digest, client=client)


async def test_a_chain_receives_together_and_the_origin_sends_once(release: Release, large: Image) -> None:
    layer = large.local.layers[0]
    async with cluster_of(knowing(release), knowing(release, 1), knowing(release, 2)) as cluster:
        reference = await cluster.push(large, "demo/app")
        began = time.monotonic()
        pulls = []
        for node in cluster.nodes:
            pulls.append(asyncio.create_task(node.pull(reference)))
            await wait_arrived(node, layer)
        # One after the other, none would have any of it yet but the first.
        assert [node.containerd.has_blob(layer.digest) for node in cluster.nodes] == [False] * 3
        await cluster.origin_host.limit(MEGABITS)
        ended = await asyncio.gather(*map(finished, pulls))

        for node in cluster.nodes:
            assert node.containerd.has_blob(layer.digest)
        assert [access.client for access in await transfers(cluster, layer)] == [cluster.nodes[0].host.ipv4]
        after_first = [f"{end - ended[0]:+.2f} s" for end in ended[1:]]
        print(f"{release}: first node {ended[0] - began:.2f} s, second and third {', '.join(after_first)}")


async def test_a_reader_gets_what_arrives_and_keeps_its_place(release: Release, large: Image) -> None:
    layer = large.local.layers[0]
    async with cluster_of(knowing(release)) as cluster:
        node = cluster.nodes[0]
        pull = asyncio.create_task(node.pull(await cluster.push(large, "demo/app")))
        await wait_arrived(node, layer)
        readers = [asyncio.create_task(bytes_of(node, f"/v1/blobs/{layer.digest}")) for _ in range(3)]
        assert node.containerd.arrived(layer.digest) < LAYER_BYTES / 2
        await cluster.origin_host.limit(MEGABITS)
        for data in await asyncio.gather(*readers):
            assert data == large.layout.read(layer.digest)
        await pull
        assert await bytes_of(node, f"/v1/blobs/{layer.digest}") == large.layout.read(layer.digest)


async def test_an_aborted_pull_ends_its_readers_within_a_second(release: Release, large: Image) -> None:
    layer = large.local.layers[0]
    async with cluster_of(knowing(release)) as cluster:
        node = cluster.nodes[0]
        pull = asyncio.create_task(node.pull(await cluster.push(large, "demo/app")))
        await wait_arrived(node, layer, more_than=2 * MIB)
        reader = asyncio.create_task(bytes_of(node, f"/v1/blobs/{layer.digest}"))
        await wait_arrived(node, layer, more_than=4 * MIB)
        assert not reader.done()
        await cancelled(pull)
        gone = await wait_given_up(node, layer)
        with pytest.raises(ConnectionError, match="IncompleteRead"):
            await reader
        print(f"{release}: the reader ended {(time.monotonic() - gone) * 1000:.0f} ms after the ingest")
        assert time.monotonic() - gone < 1 + LOADED_SECONDS


async def test_who_followed_an_aborted_pull_goes_on_with_another_peer(release: Release, large: Image) -> None:
    layer = large.local.layers[0]
    async with cluster_of(knowing(release), knowing(release, 1, 3), knowing(release)) as cluster:
        first, second, third = cluster.nodes
        reference, archive = await cluster.push(large, "demo/app"), large.archive()
        pull = asyncio.create_task(first.pull(reference))
        await wait_arrived(first, layer)
        following = asyncio.create_task(second.pull(reference))
        await wait_arrived(second, layer, more_than=2 * MIB)
        await third.containerd.import_archive(archive, f"{ORIGIN}/demo/app")
        assert second.containerd.arrived(layer.digest) < LAYER_BYTES
        await cancelled(pull)
        await cluster.origin_host.limit(MEGABITS)  # what the origin has sent arrives, and it writes its line
        await following
        assert second.containerd.has_blob(layer.digest)
        assert [access.client for access in await transfers(cluster, layer)] == [first.host.ipv4]


async def test_who_followed_an_aborted_pull_goes_on_at_the_origin(release: Release, large: Image) -> None:
    layer = large.local.layers[0]
    async with cluster_of(knowing(release), knowing(release, 1)) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(large, "demo/app")
        pull = asyncio.create_task(first.pull(reference))
        await wait_arrived(first, layer)
        following = asyncio.create_task(second.pull(reference))
        await wait_arrived(second, layer, more_than=4 * MIB)
        await cancelled(pull)
        await cluster.origin_host.limit(MEGABITS)
        await following
        rest = await transfers(cluster, layer, client=second.host.ipv4)
        print(f"{release}: the origin sent the last {rest[0].sent / MIB:.1f} of {layer.size / MIB:.1f} MiB")
        assert [access.status for access in rest] == [206]
        assert rest[0].sent < layer.size - 4 * MIB


async def test_who_followed_a_node_that_vanished_goes_on_at_the_origin(release: Release, large: Image) -> None:
    """A growing source may be silent for long: only the kernel's questions tell that nobody is there."""
    layer = large.local.layers[0]
    async with cluster_of(knowing(release), knowing(release, 1)) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(large, "demo/app")
        pull = asyncio.create_task(first.pull(reference))
        await wait_arrived(first, layer)
        following = asyncio.create_task(second.pull(reference))
        await wait_arrived(second, layer, more_than=4 * MIB)
        await first.host.unplug()
        await asyncio.sleep(0.2)
        stopped_at, stopped = second.containerd.arrived(layer.digest), time.monotonic()
        await wait_arrived(second, layer, more_than=stopped_at)
        print(f"{release}: bytes again after {time.monotonic() - stopped:.1f} s of silence")
        await cluster.origin_host.limit(MEGABITS)
        await following
        await cancelled(pull)
        assert [a.status for a in await transfers(cluster, layer, client=second.host.ipv4)] == [206]


async def cancelled(pull: asyncio.Task[str]) -> None:
    pull.cancel()
    with suppress(asyncio.CancelledError):
        await pull
