"""Pulls with an earlier build's agents and with this one's, in the same run, by turns.

    git worktree add /tmp/before COMMIT && (cd /tmp/before && python build_protos.py)
    python -m benchmarks.before /tmp/before [--rounds 6] [--cases small link wave]

Real containerds in network namespaces, mTLS, containerd's own pulls. The agents of a round are all of one build; which
build begins changes from round to round, and the first round of each does not count. The earlier build runs with this
environment's libraries. Times are medians, with the least beside it: on a machine with other work the least says more.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, make_secret
from benchmarks.pulling import cpu_seconds
from lab.agent import AGENT
from lab.cluster import NodePlan, running_cluster
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.versions import any_release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.cluster import Cluster, Node
    from lab.images import Image

_NODES: Final = 4
_TIMEOUT_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Case:
    """An image, the links' megabits a second, and who pulls it at once; the first node has it unless all pull."""

    title: str
    sizes: tuple[int, ...]
    megabits: float | None
    pullers: int


_CASES: Final = {
    "small": Case("40 layers of 20 kB from a peer, no limit", (20_000,) * 40, None, 1),
    "link": Case("4 layers of 64 MiB from a peer, 1 Gbit/s", (64 * MIB,) * 4, 1000, 1),
    "fast": Case("4 layers of 64 MiB from a peer, no limit", (64 * MIB,) * 4, None, 1),
    "wave": Case(f"12 MB in 6 layers, {_NODES} nodes at once, 100 Mbit/s", (2_000_000,) * 6, 100, _NODES),
}


@dataclass(frozen=True, slots=True)
class Pull:
    """Seconds until the last of those that pulled had it; processor seconds of all agents."""

    seconds: float
    processor: float


async def measure(case: Case, builds: Mapping[str, tuple[str, ...]], folder: Path, rounds: int) -> None:
    recipe = ImageRecipe(tuple(LayerRecipe(size, gzipped=False) for size in case.sizes), (local_architecture(),))
    image = make_image(folder / "image", recipe)
    peers = {"insecure": False, **Trust.TLS.settings(make_secret(folder))}
    pulls: dict[str, list[Pull]] = {build: [] for build in builds}
    async with running_cluster([NodePlan(await any_release(), agent={"peers": peers})] * _NODES) as cluster:
        reference = await cluster.push(image, "bench/app")
        if case.megabits:
            for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
                await host.limit(case.megabits)
        if case.pullers < _NODES:
            await cluster.nodes[0].pull(reference, timeout=_TIMEOUT_SECONDS)
        for number in range(rounds + 1):
            for build in list(builds) if number % 2 else list(builds)[::-1]:
                await _restart(cluster, builds[build])
                pull = await _pull(cluster, reference, image, case.pullers)
                if number:
                    pulls[build].append(pull)
    print(f"{case.title}, {rounds} rounds", flush=True)
    for build, counted in pulls.items():
        seconds, processor = [each.seconds for each in counted], [each.processor for each in counted]
        print(
            f"  {build}: {statistics.median(seconds):.3f} s (least {min(seconds):.3f}), "
            f"agents' processor {statistics.median(processor):.2f} s (least {min(processor):.2f})",
            flush=True,
        )


async def _restart(cluster: Cluster, program: tuple[str, ...]) -> None:
    """All agents with this build, which have found each other."""
    for node in cluster.nodes:
        assert node.agent
        node.agent.program = program
    await asyncio.gather(*(node.agent.restart() for node in cluster.nodes if node.agent))
    await cluster.wait_acquainted()
    await asyncio.sleep(1)  # what an agent does after its start, index nodes being told of what it has, is not a pull's


async def _pull(cluster: Cluster, reference: str, image: Image, pullers: int) -> Pull:
    nodes = cluster.nodes[-pullers:]
    agents = [node.agent.process for node in cluster.nodes if node.agent]
    spent, begun = cpu_seconds(agents), time.perf_counter()
    await asyncio.gather(*(node.pull(reference, timeout=_TIMEOUT_SECONDS) for node in nodes))
    pull = Pull(time.perf_counter() - begun, cpu_seconds(agents) - spent)
    await asyncio.gather(*(_remove(node, reference, image) for node in nodes))
    return pull


async def _remove(node: Node, reference: str, image: Image) -> None:
    await node.remove(reference, *(blob.digest for blob in image.blobs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the earlier build, with its protos built")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--cases", nargs="+", choices=_CASES, default=list(_CASES))
    arguments = parser.parse_args()
    # -P: what is in the folder that this runs in would be imported before the earlier build.
    before = ("env", f"PYTHONPATH={arguments.before.resolve()}", sys.executable, "-P", "-m", "registryd", "agent")
    builds = {"before": before, "now": AGENT}
    for name in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(_CASES[name], builds, Path(folder), arguments.rounds))


if __name__ == "__main__":
    main()
