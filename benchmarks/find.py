"""What asking the peers costs the asker and each who answers, next to as many calls of gRPC with nothing behind them.

    python -m benchmarks.find [--rounds 400]

The peers are processes of their own, members by mTLS, with directory stores; the asker is all of an agent that is
behind its door. On two processors ten peers take processor time from the asker, which on a cluster they do not: the
times of the processors can be compared with other machines, those that pass only in one run. What is compared takes
turns. Prints milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import make_secret
from benchmarks.contestants import write_blob
from benchmarks.naming import REPOSITORY, name_blobs
from benchmarks.peers import ECHO, member_credentials, peer_processes, silent_sockets
from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.cluster.fetch.fetching import Fetcher
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.fetch.source import ClusterSource
from registryd.cluster.health.attribution import DeliveryAttribution
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.members.discovery.static import StaticDiscovery
from registryd.cluster.members.member import MemberState
from registryd.cluster.members.roster import Members
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.content.sought import Sought
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from benchmarks.peers import PeerProcess
    from registryd.content.growing import GrowingContent
    from registryd.identity.credentials import ClientCredentials

    Ask = Callable[[], Awaitable[object]]

_SMALL: Final = 10 * 1024
_TURNS: Final = 4
_WARM_UP: Final = 20
# Nobody listens there: others are not told of this process, and it is an index node for itself.
_OWN: Final = Address("127.0.0.1", 1)


@dataclass(slots=True)
class Cost:
    """What one thing that is asked takes, in milliseconds: of each round, and of the processors in all of them."""

    rounds: list[float] = field(default_factory=list)
    asker: float = 0.0
    peers: float = 0.0

    def row(self, name: str, count: int) -> str:
        done = len(self.rounds)
        p99 = statistics.quantiles(self.rounds, n=100)[-1]
        each = self.peers / count / done
        return f"{name:36}{statistics.median(self.rounds):10.2f}{p99:10.2f}{self.asker / done:10.2f}{each:10.2f}"


class NothingArrives:
    """A node that receives nothing."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        raise ContentNotFound(f"{digest} does not arrive here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    print(f"{'':36}{'median':>10}{'p99':>10}{'asker':>10}{'each peer':>10}")
    for live, silent in ((3, 0), (10, 0), (9, 1)):
        with tempfile.TemporaryDirectory() as folder:
            show(Path(folder), live, silent, rounds=rounds)


def show(folder: Path, live: int, silent: int, *, rounds: int) -> None:
    """Rows for so many peers, of which the first has a blob."""
    stores = [folder / str(number) for number in range(live)]
    blobs = stores[0] / "blobs/sha256"
    blobs.mkdir(parents=True)
    digest = Digest("sha256", write_blob(blobs, _SMALL))
    name_blobs(stores[0])
    secret = make_secret(folder)
    with peer_processes(stores, secret) as peers, silent_sockets(silent) as unheard:
        costs = asyncio.run(measure(peers, unheard, digest, member_credentials(secret), rounds=rounds))
    whom = f"{live + silent} peers" + (f", {silent} silent" if silent else "")
    for name, cost in costs.items():
        print(cost.row(f"{name}, {whom}", live), flush=True)


async def measure(
    peers: Sequence[PeerProcess],
    unheard: Sequence[Address],
    digest: Digest,
    credentials: ClientCredentials,
    *,
    rounds: int,
) -> dict[str, Cost]:
    """Ask in turns, after a few rounds to get warm."""
    addresses = [*(peer.address for peer in peers), *unheard]
    async with bare_calls(peers, credentials) as bare, cluster_source(addresses, credentials) as source:
        asks: dict[str, Ask] = {
            "gRPC alone": bare,
            "miss": lambda: source.open(Sought(Digest.of(os.urandom(16)), REPOSITORY), Span.whole),
            "10 KB of one": lambda: source.open(Sought(digest, REPOSITORY), Span.whole),
        }
        for ask in asks.values():
            await ask_repeatedly(ask, Cost(), _WARM_UP, peers)
        costs = {name: Cost() for name in asks}
        for _ in range(_TURNS):
            for name, ask in asks.items():
                await ask_repeatedly(ask, costs[name], rounds // _TURNS, peers)
        return costs


async def ask_repeatedly(ask: Ask, cost: Cost, rounds: int, peers: Sequence[PeerProcess]) -> None:
    """Add to the cost what so many rounds take."""
    before = sum(peer.cpu_seconds() for peer in peers)
    cpu = time.process_time()
    for _ in range(rounds):
        begun = time.perf_counter()
        with suppress(ContentUnavailable):
            await ask()
        cost.rounds.append((time.perf_counter() - begun) * 1000)
    cost.asker += (time.process_time() - cpu) * 1000
    cost.peers += (sum(peer.cpu_seconds() for peer in peers) - before) * 1000


@asynccontextmanager
async def bare_calls(peers: Sequence[PeerProcess], credentials: ClientCredentials) -> AsyncIterator[Ask]:
    """One call to each peer at once, with as many bytes as a find has."""
    request = b"\x0a\x47" + b"0" * 71
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(credentials.open_channel(str(peer.bare))) for peer in peers]
        calls: list[Callable[..., Awaitable[object]]] = [channel.unary_unary(ECHO) for channel in channels]

        async def call(each: Callable[..., Awaitable[object]]) -> None:
            await each(request, timeout=1.0)

        yield lambda: asyncio.gather(*map(call, calls))


@asynccontextmanager
async def cluster_source(addresses: Sequence[Address], credentials: ClientCredentials) -> AsyncIterator[ClusterSource]:
    """The cluster as an agent asks it, once everybody has been greeted."""
    own_id = NodeId.random()
    members = Members(
        own_id,
        partial(GrpcPeer, timeout=0.5, credentials=credentials),
        backoff=Backoff(first=1, longest=60),
        greet_limit=32,
    )
    async with open_scope() as scope:
        scope.serve(partial(members.run, StaticDiscovery(list(addresses))), name="members")
        while len(members.states()) < len(addresses) or MemberState.UNKNOWN in members.states().values():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        desk = IndexState(own_id, asyncio.get_running_loop().time)
        index = IndexNodes(members, desk, own_place=lambda: NodeLocation(_OWN))
        coalescing = FetchCoordinator(index, members, NothingArrives(), fetch_wait=1.0)
        locator = MemberLocator(members, fanout_limit=32, coalescing=coalescing)
        opener = Opener(credentials, own=NothingArrives())
        yield ClusterSource(
            locator, Fetcher(locator, opener, blame=DeliveryAttribution(locator, scope), receiving=tuple)
        )


if __name__ == "__main__":
    main()
