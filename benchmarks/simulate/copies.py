"""What keeping copies costs: nodes with real keepers over an index that hears late, in virtual time.

    python -m benchmarks.simulate.copies [--nodes 5000] [--images 300] [--holders 20] [--memory]

Each image comes to so many nodes in a rollout, then lies there for an hour; then a hundredth of the nodes are lost.
Printed are the questions to index nodes and the offers to members; with --memory, which is slow, what a node remembers.
"""

from __future__ import annotations

import argparse
import asyncio
import tracemalloc
from random import Random

from tests.cluster.copies.world import World

from .clock import run_virtually

_ROLLOUT = 120.0
_HOUR = 3600.0
_MENDED = 900.0


async def measure(nodes: int, images: int, holders: int, *, weighs: bool) -> None:
    chance = Random(1)
    async with World(nodes) as world:
        kept = [world.push(f"ghcr.io/corp/app{number}:v1") for number in range(images)]
        if weighs:
            tracemalloc.start()
        for image in kept:
            for node in chance.sample(world.nodes, holders):
                node.has(image)
        await asyncio.sleep(_ROLLOUT)
        print(f"{nodes} nodes, {images} images with 3 copies, on {holders} nodes each")
        _report(world, "rollout", _ROLLOUT)
        print(f"  kept by {sorted({len(world.keepers(image)) for image in kept})} nodes")
        if weighs:
            memory, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"  memory: {memory / images / holders / 1024:.1f} KiB for each image on a node")
        await asyncio.sleep(_HOUR)
        _report(world, "an hour of rest", _HOUR)
        for node in chance.sample(list(world.alive.values()), nodes // 100):
            await node.stop(says_goodbye=False)
        await asyncio.sleep(_MENDED)
        _report(world, "a hundredth lost", _MENDED)
        print(f"  kept by {sorted({len(world.keepers(image)) for image in kept})} nodes, {world.pulls()} pulls")


def _report(world: World, what: str, seconds: float) -> None:
    asked, offered = world.questions, world.offers
    each = sum(asked.values()) / len(world.nodes) / seconds
    busiest = max(asked.values(), default=0) / seconds
    print(f"  {what}: {each:.3f} questions a node and second, {busiest:.2f} at the busiest")
    print(f"    and {sum(offered.values())} offers in all")
    asked.clear()
    offered.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--holders", type=int, default=20)
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    run_virtually(measure(arguments.nodes, arguments.images, arguments.holders, weighs=arguments.memory))


if __name__ == "__main__":
    main()
