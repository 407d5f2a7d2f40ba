"""What containerd's parallel layer fetch gains and costs: `python -m benchmarks.chunks --runs 3 --mib 1024`.

One layer, pulled by the newest containerd from the origin, and through its agent from a peer; in one piece, and in
chunks by three connections (`concurrent_layer_fetch_buffer`). Each combination takes its turn in each run; medians.
Through the agent there are no chunks: it answers containerd's `bytes=0-` with a 200, after which containerd goes on in
one piece.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.own_network import own_network
from lab.agent import REGISTRY
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Mirror, Options
from lab.images import MIB, Image, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.versions import ALIVE_SERIES, obtain

if TYPE_CHECKING:
    from lab.cluster import Cluster, Node

# In one piece, and chunks of sizes that are small and large for this.
_BUFFERS: Final = (0, MIB, 16 * MIB)
# Megabits a second each way; none is as quick as the machine is.
_LINKS: Final = (1000.0, 10_000.0)
_TIMEOUT_SECONDS: Final = 300.0
_WAYS: Final = ("origin", "peer")


async def measure(runs: int, mib: int) -> None:
    """Print a line for each link, way and size of chunks."""
    release = await obtain(ALIVE_SERIES[-1])
    plans = [NodePlan(release, Options(concurrent_layer_fetch_buffer=buffer)) for buffer in (0, *_BUFFERS)]
    with tempfile.TemporaryDirectory() as folder:
        recipe = ImageRecipe(
            (LayerRecipe(mib * MIB, gzipped=False),), (local_architecture(),), seed=str(time.time_ns())
        )
        image = make_image(Path(folder) / "layout", recipe)
        async with running_cluster(plans) as cluster:
            reference = await cluster.push(image, "bench/chunks")
            holder, *pullers = cluster.nodes
            await holder.pull(reference, timeout=_TIMEOUT_SECONDS)
            for megabits in _LINKS:
                for host in (cluster.origin_host, *(node.host for node in cluster.nodes)):
                    await host.limit(megabits)
                print(f"{megabits:.0f} Mbit/s")
                await _in_turns(cluster, pullers, image, reference, runs)


async def _in_turns(cluster: Cluster, pullers: list[Node], image: Image, reference: str, runs: int) -> None:
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(runs):
        for way in _WAYS:
            for node, buffer in zip(pullers, _BUFFERS, strict=True):
                mirrors = [Mirror(f"http://{REGISTRY}", dial_timeout="1s")] if way == "peer" else []
                node.containerd.write_hosts(ORIGIN, *mirrors, server=cluster.origin.url)
                begun = time.monotonic()
                await node.pull(reference, timeout=_TIMEOUT_SECONDS)
                seconds[way, buffer].append(time.monotonic() - begun)
                await node.remove(reference, *(layer.digest for layer in image.local.layers))
    for (way, buffer), measured in seconds.items():
        kind = f"chunks of {buffer // MIB} MiB" if buffer else "in one piece"
        median, one_piece = statistics.median(measured), statistics.median(seconds[way, 0])
        print(f"  {way}, {kind}: {median:.2f} s, {median / one_piece:.2f} of one piece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024, help="of the layer")
    options = parser.parse_args()
    with own_network() as network:
        print(network)
        asyncio.run(measure(options.runs, options.mib))


if __name__ == "__main__":
    main()
