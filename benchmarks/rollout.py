"""A new image on all nodes: real containerds in network namespaces whose links are limited, with registryd and without.

    python -m benchmarks.rollout [--nodes 2 4 8] [--megabytes 10 100] [--layers 1 4] [--kinds create update]
                                 [--megabits 100] [--runs 3] [--without] [--insecure] [--containerd 2.4] [--links]
                                 [--fault fetcher|index|origin|partition] [--stripes-from N]
                                 [--slow SHARE [--first-slow]]
    python -m benchmarks.rollout --app --nodes 6 --at-a-time 2 6

The origin is a docker-registry behind a link of the same kind. `alone` is what one node needs from it without
registryd. Peers are members by a secret (mTLS). "create" is all nodes at once, "update" a fifth of them at a time.
`--app` is an image as a language runtime with an application has: twelve layers of 29, 3.5, 13, 5, 38, 8 and 2 MB and
five small ones.
Times are of PullImage, unpacking included, medians over the runs; prints a table in Markdown, row by row. "content" is
when a node had all bytes, next to when the one alone had them: nodes of a cluster do not unpack on the same processors
as they do here. With `--slow` one of the nodes has only this share of the bandwidth, and times are those of the others.
Each rollout has a cluster of its own, which is removed with all its content before the next begins: some 2 x nodes x
megabytes of disk at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.agents import make_secret
from benchmarks.link_use import carried, print_link_use
from lab.cluster import Cluster, NodePlan, running_cluster
from lab.containerd_config import Options
from lab.errors import PullError
from lab.images import ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.roles import fetcher_of, index_node_of
from lab.versions import ALIVE_SERIES, TESTED_SERIES, obtain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cluster import Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

WAVE_SHARE = 0.2  # of the nodes at a time, in an update
PULL_TIMEOUTS = 4.0  # times what the origin's link needs for all nodes one after the other, and a minute
HEAD_START_SECONDS = 0.5  # of the first node, where one is slow: it is the first to claim, if that one is not
KINDS = ("create", "update")
FAULTS = ("fetcher", "index", "origin", "partition")


APP = tuple(int(megabytes * 1_000_000) for megabytes in (29, 3.5, 13, 5, 38, 8, 2, *[0.02] * 5))


@dataclass(frozen=True)
class Plan:
    nodes: int
    sizes: tuple[int, ...]
    """Of the layers, in bytes."""
    megabits: float
    at_once: int
    has_agents: bool = True
    fault: str = ""
    is_insecure: bool = False
    shows_links: bool = False
    stripes_from: int | None = None
    """`peers.stripes_from`; None: the default."""
    slow: float = 1.0
    """The share of the bandwidth that one of several nodes has."""
    is_first_slow: bool = False
    """Whether that is the node that begins before all others."""

    @property
    def name(self) -> str:
        kind = "at once" if self.at_once >= self.nodes else f"{self.at_once} at a time"
        fault = f", fault: {self.fault}" if self.fault else ""
        without = "" if self.has_agents else ", without registryd"
        stripes = "" if self.stripes_from is None else f", stripes from {self.stripes_from}"
        which = "the first" if self.is_first_slow else "one"
        slow = "" if self.slow_node is None else f", {which} with {self.slow:g} of the bandwidth"
        return f"{self.nodes} nodes {kind}, {self.megabytes:.0f} MB in {len(self.sizes)}{fault}{stripes}{slow}{without}"

    @property
    def slow_node(self) -> int | None:
        """The number of the node that is slow."""
        if self.slow == 1.0 or self.nodes == 1:
            return None
        return 0 if self.is_first_slow else self.nodes // 2

    @property
    def megabytes(self) -> float:
        return sum(self.sizes) / 1e6

    @property
    def pull_timeout(self) -> float:
        return 60 + PULL_TIMEOUTS * self.nodes * self.megabytes * 8 / (self.megabits * self.slow)


@dataclass(frozen=True)
class Pull:
    """Seconds from its beginning until it was over, and until its containerd had the last byte."""

    seconds: float
    content: float


@dataclass(frozen=True)
class Result:
    pulls: tuple[Pull, ...]
    seconds: float
    """From the first pull's beginning to the last one's end."""
    failures: int
    origin_bytes: int
    most_requests_of_a_manifest: int
    size: int
    agents_seconds: float
    received: tuple[int, ...]
    """Bytes that came over the link of each node."""

    @property
    def last(self) -> float:
        return max(pull.seconds for pull in self.pulls)

    @property
    def median(self) -> float:
        return statistics.median(pull.seconds for pull in self.pulls)

    @property
    def content(self) -> float:
        return max(pull.content for pull in self.pulls)


async def roll_out(plan: Plan, release: Release) -> Result:
    """A cluster, an image that it has never seen, a pull on every node."""
    with tempfile.TemporaryDirectory() as folder:
        agent = _settings(plan, Path(folder)) if plan.has_agents else None
        image = make_image(Path(folder) / "layout", _recipe(plan))
        # Each layer is unpacked once: the native snapshotter would copy its parents, which is most of the disk's work.
        node = NodePlan(release, Options(snapshotter="overlayfs"), agent)
        async with running_cluster([node] * plan.nodes) as cluster:
            reference = await cluster.push(image, "bench/app")
            if plan.has_agents:
                await cluster.wait_acquainted()
            for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
                await host.limit(plan.megabits)
            if plan.slow_node is not None:
                await cluster.nodes[plan.slow_node].host.limit(plan.megabits * plan.slow)
            cluster.origin.forget_requests()
            before, carried_before = await _agents_seconds(cluster), await carried(cluster)
            trouble = asyncio.create_task(_trouble(plan, cluster, image))
            watch = asyncio.create_task(print_link_use(cluster)) if plan.shows_links else None
            begun = time.monotonic()
            pulls = await _pull_everywhere(plan, cluster, image, reference)
            seconds = time.monotonic() - begun
            if watch is not None:
                watch.cancel()
            await trouble
            spent, carried_after = await _agents_seconds(cluster) - before, await carried(cluster)
            ports = [node.host.port for node in cluster.nodes]
            received = tuple(carried_after[port][1] - carried_before[port][1] for port in ports)
            if plan.slow_node is not None:
                pulls.pop(plan.slow_node)
                print("others:", *(f"{pull.content:.1f}" for pull in pulls if pull), "s")
            return _result(cluster, image, pulls, seconds, agents_seconds=spent, received=received)


def _settings(plan: Plan, folder: Path) -> Table:
    trust: Table = {} if plan.is_insecure else {"insecure": False, "secret_file": str(make_secret(folder))}
    stripes: Table = {} if plan.stripes_from is None else {"stripes_from": plan.stripes_from}
    return {"peers": {**trust, **stripes}}


def _recipe(plan: Plan) -> ImageRecipe:
    layers = tuple(map(LayerRecipe, plan.sizes))
    return ImageRecipe(layers=layers, architectures=("amd64",), seed=str(time.time_ns()))


async def _pull_everywhere(plan: Plan, cluster: Cluster, image: Image, reference: str) -> list[Pull | None]:
    pulls: list[Pull | None] = []
    for start in range(0, plan.nodes, plan.at_once):
        wave = cluster.nodes[start : start + plan.at_once]
        head_start = 0.0 if plan.slow_node is None else HEAD_START_SECONDS
        first, *others = wave
        others_pulls = (_pull(plan, node, image, reference, delay=head_start) for node in others)
        pulls += await asyncio.gather(_pull(plan, first, image, reference), *others_pulls)
    return pulls


async def _pull(plan: Plan, node: Node, image: Image, reference: str, *, delay: float = 0.0) -> Pull | None:
    await asyncio.sleep(delay)
    begun, clock = time.monotonic(), time.time()
    try:
        await node.pull(reference, timeout=plan.pull_timeout)
    except PullError as error:
        print(f"FAILED on {node.host.name}: {error}")
        return None
    seconds = time.monotonic() - begun
    content = node.containerd.committed(*(layer.digest for layer in image.local.layers))
    return Pull(seconds, content=content - clock)


async def _trouble(plan: Plan, cluster: Cluster, image: Image) -> None:
    """A third of the way into the wave, something goes wrong for a while."""
    if not plan.fault:
        return
    await asyncio.sleep(plan.megabytes * 8 / plan.megabits / 3 + 0.3)
    if plan.fault == "origin":
        await cluster.origin.stop()
        await asyncio.sleep(0.5)
        await cluster.origin.start()
    elif plan.fault == "partition":
        for node in cluster.nodes[: plan.nodes // 2]:
            await node.host.unplug()
        await asyncio.sleep(3)
        for node in cluster.nodes[: plan.nodes // 2]:
            await node.host.plug_in()
    else:
        layer = image.local.layers[-1].digest
        victim = fetcher_of(cluster, layer) if plan.fault == "fetcher" else index_node_of(cluster, layer)
        assert victim.agent
        await victim.agent.kill()


async def _agents_seconds(cluster: Cluster) -> float:
    total = 0.0
    for node in cluster.nodes:
        if node.agent and node.agent.process.is_running():
            total += (await node.agent.metrics()).total("process_cpu_seconds_total")
    return total


def _result(  # noqa: PLR0913 - what was measured, all named
    cluster: Cluster,
    image: Image,
    pulls: Sequence[Pull | None],
    seconds: float,
    *,
    agents_seconds: float,
    received: tuple[int, ...],
) -> Result:
    gets = [access for access in cluster.origin.requests() if access.method == "GET"]
    manifests = [access.reference for access in gets if access.kind == "manifests"]
    size = image.local.config.size + sum(layer.size for layer in image.local.layers)
    done = tuple(pull for pull in pulls if pull is not None)
    return Result(
        pulls=done,
        seconds=seconds,
        failures=len(pulls) - len(done),
        origin_bytes=sum(access.sent for access in gets),
        most_requests_of_a_manifest=max((manifests.count(one) for one in manifests), default=0),
        size=size,
        agents_seconds=agents_seconds,
        received=received,
    )


HEADER = (
    "| rollout | S/B, s | alone, s | last node | of alone (worst run) | content, of alone's | median node "
    "| all after, s | origin bytes / S | received by a node / S (most) | requests of a manifest | agents' CPU, s "
    "| failed |"
)


def _row(plan: Plan, results: Sequence[Result], alone: Sequence[Result]) -> str:
    last, content = _median_last(results)
    reference, reference_content = _median_last(alone)
    size = results[0].size
    received = [count for result in results for count in result.received]
    cells = [
        plan.name,
        f"{size * 8 / plan.megabits / 1e6:.2f}",
        f"{reference:.2f}",
        f"{last:.2f}",
        f"{last / reference:.2f} ({_most_last(results) / reference:.2f})",
        f"{content / reference_content:.2f}",
        f"{statistics.median(result.median for result in results):.2f}",
        f"{statistics.median(result.seconds for result in results):.2f}",
        f"{max(result.origin_bytes for result in results) / size:.3f}",
        f"{statistics.mean(received) / size:.3f} ({max(received) / size:.3f})",
        max(result.most_requests_of_a_manifest for result in results),
        f"{statistics.median(result.agents_seconds for result in results):.2f}",
        sum(result.failures for result in results),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _most_last(results: Sequence[Result]) -> float:
    return max(result.last for result in results)


def _median_last(results: Sequence[Result]) -> tuple[float, float]:
    """Medians over the runs: until the last pull was over, and until the last node had all bytes."""
    return (
        statistics.median(result.last for result in results),
        statistics.median(result.content for result in results),
    )


async def compare(arguments: argparse.Namespace) -> None:
    release = await obtain(arguments.containerd)
    print(f"{release}\n\n{HEADER}")
    print("|" + " --- |" * HEADER.count(" | ") + " --- |")
    for sizes in _images(arguments):
        single = Plan(1, sizes, arguments.megabits, 1, has_agents=False)
        alone = [await roll_out(single, release) for _ in range(arguments.runs)]
        for plan in _plans(arguments, sizes):
            results = [await roll_out(plan, release) for _ in range(arguments.runs)]
            print(_row(plan, results, alone), flush=True)


def _images(arguments: argparse.Namespace) -> list[tuple[int, ...]]:
    if arguments.app:
        return [APP]
    return [(mb * 1_000_000 // layers,) * layers for mb in arguments.megabytes for layers in arguments.layers]


def _plans(arguments: argparse.Namespace, sizes: tuple[int, ...]) -> list[Plan]:
    return [
        Plan(
            nodes,
            sizes,
            arguments.megabits,
            at_once,
            has_agents,
            fault=arguments.fault,
            is_insecure=arguments.insecure,
            shows_links=arguments.links,
            stripes_from=arguments.stripes_from,
            slow=arguments.slow,
            is_first_slow=arguments.first_slow,
        )
        for nodes in arguments.nodes
        for at_once in _at_once(arguments, nodes)
        for has_agents in ((True, False) if arguments.without else (True,))
    ]


def _at_once(arguments: argparse.Namespace, nodes: int) -> list[int]:
    if arguments.at_a_time:
        return [min(count, nodes) for count in arguments.at_a_time]
    return [math.ceil(nodes * WAVE_SHARE) if kind == "update" else nodes for kind in arguments.kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rollouts on real containerds")
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--app", action="store_true", help="the image of twelve layers in place of those")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--at-a-time", type=int, nargs="+", help="so many nodes, in place of the kinds")
    parser.add_argument("--containerd", choices=TESTED_SERIES, default=ALIVE_SERIES[-1])
    parser.add_argument("--megabits", type=float, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--without", action="store_true", help="also without registryd")
    parser.add_argument("--insecure", action="store_true", help="peers without TLS")
    parser.add_argument("--links", action="store_true", help="print what each link carries, every half second")
    parser.add_argument("--stripes-from", type=int, metavar="N", help="peers.stripes_from of all agents")
    parser.add_argument("--slow", type=float, default=1.0, metavar="SHARE", help="of the bandwidth that one node has")
    parser.add_argument("--first-slow", action="store_true", help="with --slow: it is the first to come")
    parser.add_argument("--fault", choices=FAULTS, default="")
    arguments = parser.parse_args()
    if not 0 < arguments.slow <= 1:
        parser.error("--slow is a share of the bandwidth: more than 0, and 1 at most")
    if arguments.first_slow and arguments.slow == 1:
        parser.error("--first-slow says which node has the share of --slow")
    asyncio.run(compare(arguments))


if __name__ == "__main__":
    main()
