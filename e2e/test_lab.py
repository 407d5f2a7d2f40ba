"""The lab itself works: what the other tests stand on."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import congestion
from lab.agent import running_agent
from lab.artifacts import cosign_signature, helm_chart, in_toto_statement, make_artifact
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.commands import require, run
from lab.containerd import running_containerd
from lab.containerd_config import Mirror, Options
from lab.errors import ProcessDiedError, PullError
from lab.fetch import Request, fetch
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.leftovers import NAMESPACES, sweep, unique_name
from lab.origin import CREDENTIALS, running_origin
from lab.process import running

if TYPE_CHECKING:
    from lab.images import Image
    from lab.network import Network
    from lab.origin import Origin
    from lab.versions import Release

pytestmark = [pytest.mark.every_series, pytest.mark.timeout(300)]


def leftover_namespaces() -> list[str]:
    prefix = unique_name("").rsplit("-", 2)[0]
    return [path.name for path in NAMESPACES.glob(f"{prefix}-*")] if NAMESPACES.exists() else []


async def test_containerd_pulls_from_the_origin_through_hosts_toml(
    release: Release, network: Network, origin: Origin, folder: Path, image: Image
) -> None:
    host = await network.add_host("node")
    await origin.push(image, "demo/app")
    async with running_containerd(release, folder / "n", namespace=host.namespace) as containerd:
        containerd.write_hosts("registry.lab", Mirror(origin.url), server="http://10.77.255.1")
        started = time.monotonic()
        await containerd.images.pull("registry.lab/demo/app:v1")
        print(f"{release}: pulled in {time.monotonic() - started:.2f} s")
        blobs = {image.local.config.digest, *(layer.digest for layer in image.local.layers)}
        given = await origin.blob_transfers(expected=len(blobs))
        assert {request.reference for request in given} == blobs
        requests = origin.requests()
        assert requests[0].method == "HEAD"
        assert requests[0].reference == "v1"
        assert {request.client for request in requests} == {host.ipv4}
        assert all(map(containerd.has_blob, blobs))

        await containerd.images.remove("registry.lab/demo/app:v1")
        await containerd.wait_blobs_gone(*blobs)
        await containerd.import_archive(image.archive(), "registry.lab/demo/imported")
        await containerd.wait_image("registry.lab/demo/imported:v1")
        assert all(map(containerd.has_blob, blobs))


async def test_containerd_survives_a_kill_with_its_content(
    release: Release, network: Network, origin: Origin, folder: Path, image: Image
) -> None:
    host = await network.add_host("node")
    await origin.push(image, "demo/app")
    async with running_containerd(release, folder / "n", namespace=host.namespace) as containerd:
        containerd.write_hosts("registry.lab", Mirror("http://127.0.0.1:1"), server=origin.url)
        await containerd.images.pull("registry.lab/demo/app:v1")
        await containerd.kill()
        await containerd.start()
        assert containerd.has_blob(image.local.layers[0].digest)
        assert len(await containerd.images.images()) == 1


@pytest.mark.parametrize(
    "options",
    [
        Options(snapshotter="overlayfs"),
        Options(discard_unpacked_layers=True),
        Options(concurrent_layer_fetch_buffer=1 << 18),
        Options(concurrent_layer_fetch_buffer=1 << 18, use_local_image_pull=True, max_concurrent_downloads=5),
    ],
    ids=["overlayfs", "discard_unpacked_layers", "concurrent_layer_fetch_buffer", "use_local_image_pull"],
)
async def test_containerd_takes_the_options(release: Release, options: Options, image: Image) -> None:
    async with running_cluster([NodePlan(release, options, agent=None)]) as cluster:
        reference = await cluster.push(image, "demo/app")
        (node,) = cluster.nodes
        await node.pull(reference)
        if options.discard_unpacked_layers:
            await node.containerd.wait_blobs_gone(*(layer.digest for layer in image.local.layers))
        assert node.containerd.has_blob(image.local.config.digest)
        parts = [request.status for request in cluster.origin.requests() if request.is_blob_transfer]
        assert (206 in parts) == (release.version >= (2, 1, 0) and options.concurrent_layer_fetch_buffer > 0)


async def test_blobs_off_leaves_manifests(origin: Origin, network: Network, image: Image) -> None:
    await origin.push(image, "demo/app")
    url, namespace = f"{origin.url}/v2/demo/app", network.bridge
    client = await network.add_host("client")
    namespace = client.namespace
    accept = (("Accept", image.root.media_type),)
    layer = f"{url}/blobs/{image.local.layers[0].digest}"
    origin.blobs_off()
    manifest = await fetch(Request(f"{url}/manifests/v1", headers=accept), namespace=namespace)
    assert manifest.body == image.layout.read(image.root.digest)
    assert (await fetch(layer, namespace=namespace)).status == 404
    origin.blobs_on()
    part = await fetch(Request(layer, headers=(("Range", "bytes=10-19"),)), namespace=namespace)
    assert (part.status, len(part.body)) == (206, 10)
    async with asyncio.timeout(10):  # it writes the line of a request a moment after its client has the answer
        while len(origin.requests()) < 3:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.02)
    assert [request.status for request in origin.requests()] == [200, 404, 206]
    assert [request.sent for request in origin.requests()][::2] == [image.root.size, 10]


async def test_artifacts_of_any_kind_can_be_pushed(
    origin: Origin, network: Network, image: Image, folder: Path
) -> None:
    client = await network.add_host("client")
    await origin.push(image, "demo/app")
    for recipe in (helm_chart(), cosign_signature(image.root), in_toto_statement(image.root)):
        artifact = make_artifact(folder / recipe.tag, recipe)
        await origin.push(artifact, "demo/app")
        request = Request(
            f"{origin.url}/v2/demo/app/manifests/{recipe.tag}", headers=(("Accept", artifact.root.media_type),)
        )
        answer = await fetch(request, namespace=client.namespace)
        assert answer.headers["docker-content-digest"] == artifact.root.digest


async def test_skopeo_finds_the_archive_in_order(origin: Origin, network: Network, image: Image) -> None:
    require("skopeo", package="skopeo")
    client = await network.add_host("client")
    source, target = f"oci-archive:{image.archive()}:v1", f"docker://{origin.address}/demo/copied:v1"
    options = ["--all", "--preserve-digests", "--dest-tls-verify=false"]
    await run(*client.namespace.command("skopeo", "copy", *options, source, target))
    request = Request(f"{origin.url}/v2/demo/copied/manifests/v1", "HEAD", (("Accept", image.root.media_type),))
    answer = await fetch(request, namespace=client.namespace)
    assert answer.headers["docker-content-digest"] == image.root.digest


async def test_a_private_origin_wants_credentials(
    release: Release, network: Network, folder: Path, image: Image
) -> None:
    host = await network.add_host("both")
    address = f"{host.ipv4}:5000"
    async with (
        running_origin(folder / "o", address=address, namespace=host.namespace, is_private=True) as origin,
        running_containerd(release, folder / "n", namespace=host.namespace) as containerd,
    ):
        await origin.push(image, "demo/app")
        containerd.write_hosts("registry.lab", server=origin.url)
        with pytest.raises(PullError, match=r"401 Unauthorized|authorization failed|no basic auth"):
            await containerd.images.pull("registry.lab/demo/app:v1")
        await containerd.images.pull("registry.lab/demo/app:v1", credentials=CREDENTIALS)


async def test_a_link_carries_what_it_is_limited_to(network: Network, origin: Origin, folder: Path) -> None:
    image = make_image(folder / "i", ImageRecipe((LayerRecipe(5 * MIB, gzipped=False),), ("amd64",)))
    await origin.push(image, "demo/app")
    host = await network.add_host("client")
    await host.limit(40)
    started = time.monotonic()
    layer = image.manifests[0].layers[0]
    await fetch(f"{origin.url}/v2/demo/app/blobs/{layer.digest}", namespace=host.namespace)
    megabits = layer.size * 8 / 1e6 / (time.monotonic() - started)
    print(f"{megabits:.1f} Mbit/s over a link of 40")
    assert 4 < megabits < 45  # less than the link carries is for a machine that is busy
    await host.unlimit()


async def test_an_unplugged_host_hears_nothing(network: Network, origin: Origin) -> None:
    host = await network.add_host("client")
    await host.unplug()
    with pytest.raises(OSError, match=r"timed out|unreachable"):
        await fetch(Request(f"{origin.url}/v2/", timeout=0.5), namespace=host.namespace)
    await host.plug_in()
    assert (await fetch(f"{origin.url}/v2/", namespace=host.namespace)).status == 200


async def test_a_program_that_dies_says_why(folder: Path) -> None:
    async def never() -> bool:
        return False

    async with running(["sh", "-c", "echo the reason; exit 3"], log=folder / "log") as process:
        with pytest.raises(ProcessDiedError, match="sh exited with 3:\nthe reason"):
            await process.wait_ready(never)


STAND_IN = """
import http.server, sys, tomllib
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"settings_total 1\\n" if self.path == "/metrics" else b"")
settings = tomllib.load(open(sys.argv[2], "rb"))
print("advertised:", settings["peers"]["advertise"], flush=True)
http.server.HTTPServer(("127.0.0.1", 3175), Answer).serve_forever()
"""


async def test_connections_avoid_congestion_as_chosen_whatever_the_machine_prefers(network: Network) -> None:
    """Within a node and between two; the machine's own default may be BBR, with which figures are others."""
    there, here = await network.add_host("there"), await network.add_host("here")
    chosen = [congestion.chosen().encode()] * 2
    for host, client in ((there.ipv4, here), ("127.0.0.1", there), *([(there.ipv6, here)] if there.ipv6 else [])):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = there.namespace.call(partial(socket.create_server, (host, 0), family=family))
        with listening, client.namespace.open_socket(family) as asking:
            asking.settimeout(5)
            asking.connect(listening.getsockname()[:2])
            answering, _ = listening.accept()
            with answering:
                assert [_congestion_control(end) for end in (asking, answering)] == chosen


def _congestion_control(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


async def test_an_agent_is_reached_in_its_namespace(network: Network, folder: Path) -> None:
    host = await network.add_host("node")
    settings = {"peers": {"advertise": host.ipv4}}
    program = (sys.executable, "-c", STAND_IN)
    async with running_agent(settings, folder, namespace=host.namespace, program=program) as agent:
        assert (await agent.metrics()).total("settings_total") == 1
        await agent.kill()
        assert not await agent.is_ready()
        await agent.restart()
        assert agent.process.log_tail().count(f"advertised: {host.ipv4}") == 2


async def test_what_a_killed_run_leaves_is_swept(release: Release, network: Network) -> None:
    program = f"""
import asyncio
from pathlib import Path
from lab.cluster import NodePlan, running_cluster
from lab.versions import Release

async def main():
    release = Release({release.version!r}, Path({str(release.programs)!r}))
    async with running_cluster([NodePlan(release, agent=None)]) as cluster:
        print(cluster.folder, cluster.nodes[0].containerd.process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    run_to_kill = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert run_to_kill.stdout
    folder, pid = (await run_to_kill.stdout.readline()).decode().split()
    run_to_kill.kill()
    await run_to_kill.wait()
    removed = await sweep()
    prefix = Path(folder).name.rsplit("-", 2)[0]
    assert [name.rpartition("-")[2] for name in removed if name.startswith(prefix)] == [
        "bridge",
        "origin",
        "node1",
        "w",
    ]
    assert not [path for path in (folder, f"/proc/{pid}/exe") if os.path.exists(path)]  # noqa: PTH110


async def test_a_mixed_cluster_starts_and_leaves_nothing(releases: tuple[Release, ...], image: Image) -> None:
    there_before = set(leftover_namespaces())  # those of a cluster that other tests of this process share
    started = time.monotonic()
    async with running_cluster([NodePlan(release, agent=None) for release in releases]) as cluster:
        print(f"3 nodes and an origin in {time.monotonic() - started:.2f} s")
        reference = await cluster.push(image, "demo/app")
        assert reference == f"{ORIGIN}/demo/app:v1"
        await asyncio.gather(*(node.pull(reference) for node in cluster.nodes))
        await cluster.nodes[0].remove(reference, image.root.digest)
    assert not cluster.folder.exists()
    assert set(leftover_namespaces()) == there_before
    assert not any(node.containerd.process.is_running() for node in cluster.nodes)
