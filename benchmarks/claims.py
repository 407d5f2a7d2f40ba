"""All nodes of a cluster claim one layer at the same moment, as root: `python -m benchmarks.claims --nodes 1000`.

Three real agents are its index nodes, by mTLS, on one processor. The nodes are clients at addresses of their own that
ask as an agent does (`IndexNodes`), all in one process on another processor, where their end of the handshakes costs
as much as the agents': a cluster's nodes have a processor each. What counts is how many get no verdict, or another one
than the first: each of these nodes goes to the origin.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import make_secret, make_store, settings_at
from benchmarks.processes import running
from lab.commands import run
from lab.namespaces import new_namespace
from lab.toml_text import Table, merged, to_toml
from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.ring import RendezvousHash
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.members.member import Member
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.queueing import accepts_connections, queue_seconds
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.processes import Server
    from lab.namespaces import Namespace

_AGENTS: Final = "10.8.250.1"
_PORTS: Final = (3173, 3273, 3373)
_INDEX_NODES: Final = frozenset(Address(_AGENTS, port) for port in _PORTS)
_OF_NETWORK: Final = 250
_LAYER_BYTES: Final = 100 << 20
# Agents of a large cluster go to see some of their members when they begin.
_BEGIN_SECONDS: Final = 10.0
_AT_ONCE: Final = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[500, 1000], help="default: 500 1000")
    parser.add_argument("--acquainted", action="store_true", help="the nodes have connections to the index nodes")
    arguments = parser.parse_args()
    for nodes in arguments.nodes:
        asyncio.run(_measure(nodes, is_acquainted=arguments.acquainted))


def _host(node: int, network: str) -> str:
    return f"10.{network}.{node // _OF_NETWORK}.{node % _OF_NETWORK + 1}"


class _Node:
    """A node of the cluster: where it is, and the index nodes as it reaches them, each at an address of its own."""

    def __init__(self, number: int, nodes: int, ring: RendezvousHash, credentials: MemberCredentials) -> None:
        self._host = _host(number, "8")
        own = NodeLocation(Address(_host(number, "9"), 3173))
        queue = partial(queue_seconds, nodes)
        self.members = {
            address: Member(
                self._reached(address),
                GrpcPeer(self._reached(address), timeout=1.0, credentials=credentials, queue=queue),
                own_id=NodeId("this"),
                on_change=lambda _member: None,
            )
            for address in _INDEX_NODES
        }
        self._own = own
        self._index = IndexNodes(
            self,
            IndexState(NodeId("this"), time.monotonic),
            own_place=lambda: own,
            make_ring=lambda _addresses: ring,
            queue=queue,
            is_there=lambda address: accepts_connections(self._reached(address)),
        )

    def addresses(self) -> frozenset[Address]:
        return _INDEX_NODES

    def get(self, address: Address) -> Member | None:
        member = self.members.get(address)
        return member if member is not None and member.is_available else None

    async def claim(self, digest: Digest) -> tuple[str, float]:
        """What it is told, and after how many seconds."""
        begun = time.monotonic()
        reply = await self._index.claim(Claim(digest, self._own, size=_LAYER_BYTES, places=8, takes_stripes=True))
        told = "no verdict" if reply is None else "a source" if reply.sources else "the origin"
        return told, time.monotonic() - begun

    def _reached(self, address: Address) -> Address:
        return Address(self._host, address.port)


@dataclass(frozen=True, slots=True)
class _Networks:
    agents: Namespace
    nodes: Namespace


@asynccontextmanager
async def _networks(nodes: int) -> AsyncIterator[_Networks]:
    """Each node speaks from an address of its own, because it asks the agents at an address of its own."""
    async with AsyncExitStack() as stack:
        agents = await stack.enter_async_context(new_namespace("agents"))
        clients = await stack.enter_async_context(new_namespace("nodes"))
        await run(
            "ip", "link", "add", "door", "netns", agents.name, "type", "veth", "peer", "door", "netns", clients.name
        )
        numbers = range(nodes)
        theirs = [
            *(f"addr add {_host(number, '8')}/32 dev door" for number in numbers),
            f"addr add {_AGENTS}/32 dev door",
            "link set door up",
            f"route add 10.9.0.0/16 dev door src {_AGENTS}",
        ]
        ours = [
            *(f"addr add {_host(number, '9')}/32 dev door" for number in numbers),
            "link set door up",
            *(f"route add {_host(number, '8')}/32 dev door src {_host(number, '9')}" for number in numbers),
        ]
        for namespace, lines in ((agents, theirs), (clients, ours)):
            await run("ip", "-n", namespace.name, "-batch", "-", stdin="\n".join(lines))
        yield _Networks(agents, clients)


def _agents(folder: Path, nodes: int, networks: _Networks, secret: Path) -> Iterator[tuple[Path, list[str]]]:
    """The log and the command line of each."""
    peers = [*(f"{_host(number, '9')}:3173" for number in range(nodes)), *map(str, _INDEX_NODES)]
    for port in _PORTS:
        changes: Table = {
            "registry": {"listen": f"127.0.0.1:{port - 1}"},
            "admin": {"listen": f"127.0.0.1:{port + 2}"},
            "peers": {
                "secret_file": str(secret),
                "listen": f"0.0.0.0:{port}",
                "content_listen": f"{_AGENTS}:{port + 1}",
            },
            "discovery": {"kind": "static", "peers": peers},
        }
        settings = folder / f"agent-{port}.toml"
        settings.write_text(to_toml(merged(settings_at(_AGENTS, make_store(folder / f"store-{port}")), changes)))
        agent = [sys.executable, "-m", "registryd", "agent", "--config", str(settings)]
        yield folder / f"agent-{port}.log", networks.agents.command("taskset", "-c", "0", *agent)


async def _measure(nodes: int, *, is_acquainted: bool) -> None:
    async with _networks(nodes) as networks, AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        secret = make_secret(folder)
        servers: list[Server] = [
            stack.enter_context(running(command, ports=(), host=_AGENTS, log=log))
            for log, command in _agents(folder, nodes, networks, secret)
        ]
        await asyncio.sleep(_BEGIN_SECONDS)
        stack.enter_context(networks.nodes.entered())
        os.sched_setaffinity(0, {1})
        now = partial(datetime.now, UTC)
        credentials = await asyncio.to_thread(MemberCredentials, MintedMaterial(secret, node="nodes", clock=now))
        ring = RendezvousHash(_INDEX_NODES)
        all_nodes = [_Node(number, nodes, ring, credentials) for number in range(nodes)]
        if is_acquainted:
            for first in range(0, nodes, _AT_ONCE):
                some = [member for node in all_nodes[first : first + _AT_ONCE] for member in node.members.values()]
                await asyncio.gather(*(member.probe() for member in some))
        before = [server.cpu_seconds() for server in servers]
        begun, digest = time.monotonic(), Digest.of(os.urandom(16))
        claims = await asyncio.gather(*(node.claim(digest) for node in all_nodes))
        seconds = time.monotonic() - begun
        took = sorted(each for _, each in claims)
        used = sum(server.cpu_seconds() for server in servers) - sum(before)
        told = ", ".join(f"{count} {what}" for what, count in sorted(Counter(what for what, _ in claims).items()))
        aside = sum(not member.is_available for node in all_nodes for member in node.members.values())
        print(
            f"{nodes} nodes{', acquainted' if is_acquainted else ''}: {told}; all within {seconds:.2f} s, median"
            f" {statistics.median(took):.2f} s; the agents' processors {used:.2f} s; set aside {aside} times;"
            f" load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
