"""What keeping copies costs: nodes with real keepers over an index that hears late, in virtual time.

    python -m benchmarks.simulate.copies [--nodes 5000] [--images 300] [--holders 20] [--memory]

Each image comes to so many nodes in a rollout, then lies there for an hour; then a hundredth of the nodes, one at
least, are lost.
Printed are the questions to index nodes and the offers to members, their bytes with those of the answers (as protobuf:
gRPC and TLS come beside them), what the process grew by, and the processor time of the simulation, which is more than
that of the nodes in it; with --memory, which is slow, what a node remembers.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from registryd.cluster.rpc.copy_codec import answer_message, offer_message
from registryd.cluster.rpc.index_codec import claim_message, verdict_message
from tests.cluster.copies.world import FakeNode, World

from .clock import run_virtually

if TYPE_CHECKING:
    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Claim, ClaimReply
    from registryd.notation import Address

_ROLLOUT = 120.0
_HOUR = 3600.0
_MENDED = 900.0


class WeighedNode(FakeNode):
    """A node whose messages are weighed, as they would go over the wire."""

    weighed = 0

    async def claim(self, claim: Claim) -> ClaimReply:
        reply = await super().claim(claim)
        WeighedNode.weighed += claim_message(claim).ByteSize() + verdict_message(reply).ByteSize()
        return reply

    async def offer(self, address: Address, offer: CopyOffer) -> CopyAnswer:
        WeighedNode.weighed += offer_message(offer).ByteSize()
        answer = await super().offer(address, offer)
        WeighedNode.weighed += answer_message(answer).ByteSize()
        return answer


async def measure(nodes: int, images: int, holders: int, *, weighs: bool) -> None:
    chance = Random(1)
    async with World(nodes, kind=WeighedNode) as world:
        await asyncio.sleep(1)
        resident, spent = _resident(), time.process_time()
        kept = [world.push(f"ghcr.io/corp/app{number}:v1") for number in range(images)]
        if weighs:
            tracemalloc.start()
        for image in kept:
            for node in chance.sample(world.nodes, holders):
                node.has(image)
        await asyncio.sleep(_ROLLOUT)
        print(f"{nodes} nodes, {images} images with 3 copies, on {holders} nodes each")
        spent = _report(world, "rollout", _ROLLOUT, spent)
        print(f"  the process grew by {(_resident() - resident) / nodes / 1024:.1f} KiB a node")
        print(f"  kept by {sorted({len(world.keepers(image)) for image in kept})} nodes")
        if weighs:
            memory, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"  memory: {memory / images / holders / 1024:.1f} KiB for each image on a node")
        await asyncio.sleep(_HOUR)
        spent = _report(world, "an hour of rest", _HOUR, spent)
        for node in chance.sample(list(world.alive.values()), max(1, nodes // 100)):
            await node.stop(says_goodbye=False)
        await asyncio.sleep(_MENDED)
        _report(world, "a hundredth lost", _MENDED, spent)
        print(f"  kept by {sorted({len(world.keepers(image)) for image in kept})} nodes, {world.pulls()} pulls")


def _report(world: World, what: str, seconds: float, spent: float) -> float:
    """The processor's seconds until now; `spent`: those until the period began."""
    now = time.process_time()
    asked, offered = world.questions, world.offers
    each = sum(asked.values()) / len(world.nodes) / seconds
    busiest = max(asked.values(), default=0) / seconds
    print(f"  {what}: {each:.3f} questions a node and second, {busiest:.2f} at the busiest")
    print(f"    and {sum(offered.values())} offers in all")
    size = WeighedNode.weighed / len(world.nodes) / seconds
    print(f"    {size:.2f} bytes a node and second, {(now - spent) / len(world.nodes) / seconds:.5%} of a processor")
    asked.clear()
    offered.clear()
    WeighedNode.weighed = 0
    return now


def _resident() -> int:
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


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
