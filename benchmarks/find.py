"""What asking the peers costs: misses and hits, with three and with ten of them.

    python -m benchmarks.find [--rounds 500]

The peers are processes of their own, one for each, on this machine: on two cores they take processor time from the
asker, which on a cluster they do not. Prints milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.discovery.static import StaticDiscovery
from registryd.cluster.locator import Locator
from registryd.cluster.member import MemberState
from registryd.cluster.members import Members
from registryd.cluster.node import NodeId
from registryd.cluster.opening import Opener
from registryd.cluster.peer import GrpcPeer
from registryd.cluster.source import ClusterSource
from registryd.content.source import ContentUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from tests.fakes.peers import good
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection

    Ask = Callable[[ClusterSource], Awaitable[object]]

CONTENT = bytes(range(256)) * 40  # a manifest's size
HERE, ABSENT = Digest.of(CONTENT), Digest.of(b"nobody has this")

SCENES: list[tuple[str, int, Ask]] = [
    ("miss, 3 peers", 3, lambda source: source.find(ABSENT)),
    ("miss, 10 peers", 10, lambda source: source.find(ABSENT)),
    ("found, 1 of 3 peers", 3, lambda source: source.find(HERE)),
    ("found, 1 of 10 peers", 10, lambda source: source.find(HERE)),
    ("10 KB read and verified, 3 peers", 3, lambda source: source.open(HERE, Span.whole)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    print(f"{'':32}{'median':>10}{'p99':>10}")
    for name, peers, ask in SCENES:
        with peer_processes(peers) as addresses:
            times = asyncio.run(measure(addresses, ask, rounds))
        print(f"{name:32}{statistics.median(times):10.2f}{statistics.quantiles(times, n=100)[-1]:10.2f}")


async def measure(addresses: list[Address], ask: Ask, rounds: int) -> list[float]:
    """Milliseconds of each round, after a few to get warm."""
    async with AsyncExitStack() as stack:
        members = Members(
            NodeId.random(), partial(GrpcPeer, timeout=0.5), backoff=Backoff(first=1, longest=60), greet_limit=32
        )
        scope = await stack.enter_async_context(open_scope())
        scope.serve(partial(members.run, StaticDiscovery(addresses)), name="members")
        while set(members.states().values()) != {MemberState.UP}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until all have been greeted, which connects them
        source = ClusterSource(Locator(members, fanout_limit=32), Opener())
        times = [await timed(ask, source) for _ in range(rounds + 20)]
    return times[20:]


@contextmanager
def peer_processes(count: int) -> Iterator[list[Address]]:
    """Peers of which the first has the content."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    pipes = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=run_peer, args=(far, CONTENT if number == 0 else b""))
        for number, (_, far) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    try:
        yield [Address("127.0.0.1", near.recv()) for near, _ in pipes]
    finally:
        for process, (near, _) in zip(processes, pipes, strict=True):
            near.send("stop")
            process.join()


def run_peer(control: Connection, content: bytes) -> None:
    """A process that is a peer until it is told to stop."""
    store = MemorySource()
    store.add(Digest.of(content), content)

    async def serve() -> None:
        async with good(store) as peer:
            control.send(peer.address.port)
            await asyncio.to_thread(control.recv)

    asyncio.run(serve())


async def timed(ask: Ask, source: ClusterSource) -> float:
    begun = time.perf_counter()
    with suppress(ContentUnavailable):
        await ask(source)
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
