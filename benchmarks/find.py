"""What asking the peers costs: misses and hits, with three and with ten of them, and with one that is silent.

    python -m benchmarks.find [--rounds 500]

The peers are processes of their own, one for each, on this machine: on two cores they take processor time from the
asker, which on a cluster they do not. Prints milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.blame import Blame
from registryd.cluster.discovery.static import StaticDiscovery
from registryd.cluster.locator import Locator
from registryd.cluster.member import MemberState
from registryd.cluster.members import Members
from registryd.cluster.node import NodeId
from registryd.cluster.opening import Opener
from registryd.cluster.peer import GrpcPeer
from registryd.cluster.source import ClusterSource
from registryd.content.source import ContentUnavailable
from registryd.identity.credentials import NoCredentials
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


@dataclass(frozen=True)
class Scene:
    """What is asked, and of how many peers that answer and that do not."""

    name: str
    ask: Ask
    live: int
    silent: int = 0


def find_absent(source: ClusterSource) -> Awaitable[object]:
    return source.find(ABSENT)


def find_here(source: ClusterSource) -> Awaitable[object]:
    return source.find(HERE)


def read_here(source: ClusterSource) -> Awaitable[object]:
    return source.open(HERE, Span.whole)


SCENES = [
    Scene("miss, 3 peers", find_absent, live=3),
    Scene("miss, 10 peers", find_absent, live=10),
    Scene("miss, 10 peers, 1 silent", find_absent, live=9, silent=1),
    Scene("found, 1 of 3 peers", find_here, live=3),
    Scene("found, 1 of 10 peers", find_here, live=10),
    Scene("10 KB read and verified, 3 peers", read_here, live=3),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    print(f"{'':36}{'median':>10}{'p99':>10}{'cpu':>10}")
    for scene in SCENES:
        with peer_processes(scene.live) as live, silent_sockets(scene.silent) as silent:
            times, cpu = asyncio.run(measure(live + silent, scene.ask, rounds))
        p99 = statistics.quantiles(times, n=100)[-1]
        print(f"{scene.name:36}{statistics.median(times):10.2f}{p99:10.2f}{cpu:10.2f}")


async def measure(addresses: list[Address], ask: Ask, rounds: int) -> tuple[list[float], float]:
    """Milliseconds of each round, after a few to get warm, and of the asker's processor on average."""
    async with AsyncExitStack() as stack:
        members = Members(
            NodeId.random(),
            partial(GrpcPeer, timeout=0.5, credentials=NoCredentials()),
            backoff=Backoff(first=1, longest=60),
            greet_limit=32,
        )
        scope = await stack.enter_async_context(open_scope())
        scope.serve(partial(members.run, StaticDiscovery(addresses)), name="members")
        while len(members.states()) < len(addresses) or MemberState.UNKNOWN in members.states().values():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until all have been greeted, which connects them
        locator = Locator(members, fanout_limit=32)
        source = ClusterSource(locator, Opener(NoCredentials()), blame=Blame(locator, scope))
        for _ in range(20):
            await timed(ask, source)
        cpu = time.process_time()
        times = [await timed(ask, source) for _ in range(rounds)]
        return times, (time.process_time() - cpu) / rounds * 1000


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


@contextmanager
def silent_sockets(count: int) -> Iterator[list[Address]]:
    """Addresses at which the kernel accepts connections and nobody says a word."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        yield [Address("127.0.0.1", listening.getsockname()[1]) for listening in sockets]


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
