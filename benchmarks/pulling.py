"""An image pulled by real containerd: from a peer through the agents, and from docker-registries, on the same link.

Origin and nodes are network namespaces with a token bucket each way. The same node pulls all ways in turns, and
removes the image in between. Processor time is of both ends: containerd, and the two agents or the docker-registry.
Agents that use mTLS are also next to a registry behind TLS, whose bytes containerd itself has to decrypt.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, make_secret
from benchmarks.entered import entered
from benchmarks.figures import Figure, at_most
from lab.agent import REGISTRY
from lab.authority import make_key_pair
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Mirror
from lab.errors import LabError
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.origin import running_origin
from lab.versions import any_release

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.network import Host
    from lab.process import Process
    from lab.toml_text import Table

_PEER: Final = "peer"
_LAYERS: Final = 4
_TIMEOUT_SECONDS: Final = 300
_TLS_PORT: Final = 5443
# A tolerance that was chosen: medians of three are not known better than that.
_NOT_SLOWER: Final = 1.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Link:
    """How fast every host's link is, and an image that needs some seconds on it."""

    title: str
    megabits: float | None
    mib: int


_LINKS: Final = (Link("200 Mbit/s", 200, 64), Link("1 Gbit/s", 1000, 256), Link("no limit", None, 1024))
_PLAIN_LINKS: Final = (Link("no limit", None, 256),)


@dataclass(frozen=True, slots=True)
class Giver:
    """Who gives the image: processes that it costs, where containerd is sent, and where it goes on if that fails."""

    title: str
    processes: Sequence[Process]
    host: Mirror
    server: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Two nodes, and what their agents are compared with."""

    cluster: Cluster
    registries: Sequence[Giver]


@dataclass(frozen=True, slots=True)
class Pull:
    """Seconds of PullImage, and until all bytes were there; processor seconds of containerd and of the giver."""

    seconds: float
    content: float
    containerd: float
    givers: float


def measure(*, rounds: int) -> Iterator[Figure]:
    """Each link in turn, the members use mTLS; then no limit and plain TCP: what encrypting costs there."""
    for trust, links in ((Trust.TLS, _LINKS), (Trust.TICKET, _PLAIN_LINKS)):
        with tempfile.TemporaryDirectory() as folder:
            peers = {"insecure": False, **trust.settings(make_secret(Path(folder)))}
            with entered(_two_nodes(peers, are_encrypted=trust is Trust.TLS)) as (stage, runner):
                for link in links:
                    image = _make_image(Path(folder, "image"), link)
                    pulls = runner.run(_pull_in_turns(stage, link, image, rounds))
                    yield from _figures(f"pull of {link.mib} MiB, {link.title}, {trust.value}", pulls)
                    shutil.rmtree(Path(folder, "image"))


@asynccontextmanager
async def _two_nodes(peers: Table, *, are_encrypted: bool) -> AsyncIterator[Stage]:
    plan = NodePlan(await any_release(), agent={"peers": peers})
    async with running_cluster([plan, plan]) as cluster:
        plain = Giver("registry", [cluster.origin.process], Mirror(cluster.origin.url), cluster.origin.url)
        if not are_encrypted:
            yield Stage(cluster, [plain])
            return
        async with _tls_registry(cluster) as encrypted:
            yield Stage(cluster, [plain, encrypted])


@asynccontextmanager
async def _tls_registry(cluster: Cluster) -> AsyncIterator[Giver]:
    """What the origin has, by another docker-registry on the same host."""
    folder, host = cluster.folder / "tls", cluster.origin_host
    folder.mkdir()
    pair, address = await make_key_pair(folder, address=host.ipv4), f"{host.ipv4}:{_TLS_PORT}"
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    serving = running_origin(
        folder,
        address=address,
        namespace=host.namespace,
        storage=cluster.origin.storage,
        extra={"http": {"tls": tls}},
    )
    async with serving as origin:
        mirror = Mirror(f"https://{address}", extra={"ca": tls["certificate"]})
        yield Giver("registry by TLS", [origin.process], mirror, mirror.url)


def _make_image(folder: Path, link: Link) -> Image:
    layers = (LayerRecipe(link.mib * MIB // _LAYERS, gzipped=False),) * _LAYERS
    return make_image(folder, ImageRecipe(layers, (local_architecture(),), seed=link.title.replace(" ", "")))


def _figures(title: str, pulls: Mapping[str, Pull]) -> Iterator[Figure]:
    registries = dict(pulls)
    peer = registries.pop(_PEER)
    for registry, pull in registries.items():
        content = f"until all bytes were there {peer.content:.2f} and {pull.content:.2f}"
        beside = f"{peer.seconds:.2f} and {pull.seconds:.2f} s; {content}"
        ratio = peer.seconds / pull.seconds
        yield Figure(f"{title}: time of {registry}'s", ratio, "of it", at_most(_NOT_SLOWER), beside)
    givers = ", ".join(f"{registry} {pull.givers:.2f} s" for registry, pull in registries.items())
    pulling = ", ".join(f"{pull.containerd:.2f} s from {registry}" for registry, pull in registries.items())
    yield Figure(f"{title}: two agents' processor", peer.givers, "s", beside=givers)
    yield Figure(f"{title}: containerd's", peer.containerd, "s", beside=pulling)


# ---------------------------------------------------------------- the pulls


async def _pull_in_turns(stage: Stage, link: Link, image: Image, rounds: int) -> Mapping[str, Pull]:
    """Medians of pulls by the second node: from the first, and from each registry.

    After a round that does not count. Who begins changes: what a pull leaves for the disk to do costs the next.
    """
    cluster = stage.cluster
    owner, puller = cluster.nodes
    reference = await cluster.push(image, f"bench/{link.mib}")
    await owner.pull(reference, timeout=_TIMEOUT_SECONDS)
    agents = [node.agent.process for node in cluster.nodes if node.agent]
    givers = [Giver(_PEER, agents, Mirror(f"http://{REGISTRY}"), cluster.origin.url), *stage.registries]
    pulls: dict[str, list[Pull]] = {giver.title: [] for giver in givers}
    before = await _from_peers(puller)
    async with _limited((cluster.origin_host, owner.host, puller.host), link):
        for number in range(rounds + 1):
            first = number % len(givers)
            for giver in givers[first:] + givers[:first]:
                puller.containerd.write_hosts(ORIGIN, giver.host, server=giver.server)
                pulls[giver.title].append(await _pull(puller, reference, image, giver.processes))
    _require_peer(await _from_peers(puller) - before, least=(rounds + 1) * link.mib * MIB)
    return {title: _median(counted) for title, (_, *counted) in pulls.items()}


@asynccontextmanager
async def _limited(hosts: Sequence[Host], link: Link) -> AsyncIterator[None]:
    """Their links meanwhile."""
    if link.megabits is None:
        yield
        return
    for host in hosts:
        await host.limit(link.megabits)
    try:
        yield
    finally:
        for host in hosts:
            await host.unlimit()


async def _pull(node: Node, reference: str, image: Image, givers: Sequence[Process]) -> Pull:
    """Pull and remove."""
    containerd, giving = cpu_seconds([node.containerd.process]), cpu_seconds(givers)
    begun, clock = time.perf_counter(), time.time()
    await node.pull(reference, timeout=_TIMEOUT_SECONDS)
    pull = Pull(
        time.perf_counter() - begun,
        node.containerd.committed(*(layer.digest for layer in image.local.layers)) - clock,
        cpu_seconds([node.containerd.process]) - containerd,
        cpu_seconds(givers) - giving,
    )
    await node.remove(reference, *(blob.digest for blob in image.blobs))
    return pull


def _require_peer(sent: float, *, least: int) -> None:
    """A pull that fell back to the origin would be a fine figure of the wrong thing."""
    if sent < least:
        raise LabError(f"only {sent:.0f} bytes came from the peer")


async def _from_peers(node: Node) -> float:
    assert node.agent is not None
    return (await node.agent.metrics()).total("registryd_sent_bytes_total", source="peer")


def cpu_seconds(processes: Sequence[Process]) -> float:
    """Of all threads and of children that have ended, such as containerd's decompressors (proc(5), fields 14 to 17)."""
    return sum(_ticks(process.pid) for process in processes) / _TICKS


def _ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))


def _median(pulls: Sequence[Pull]) -> Pull:
    return Pull(
        statistics.median(pull.seconds for pull in pulls),
        statistics.median(pull.content for pull in pulls),
        statistics.median(pull.containerd for pull in pulls),
        statistics.median(pull.givers for pull in pulls),
    )
