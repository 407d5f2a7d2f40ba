"""Peers as processes of their own, which can be asked as members, and by gRPC with nothing behind it."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import NameIndexState
from registryd.cluster.index.speakers import Speakers
from registryd.cluster.rpc.index_service import IndexService
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.naming_rules import NamingRules
from registryd.content.sharing import SharedStore
from registryd.identity.membership import MemberCredentials
from registryd.identity.minted import MintedMaterial
from registryd.notation import Address
from registryd.store.directory.store import open_directory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

_HOST: Final = "127.0.0.1"
_BARE: Final = "benchmarks.Bare"
ECHO: Final = f"/{_BARE}/Echo"
"""The method at a peer's bare door: answers with the bytes that it is sent."""


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """A running peer: where members ask it, and where gRPC alone does."""

    address: Address
    bare: Address
    control: Connection

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        self.control.send("time")
        seconds: float = self.control.recv()
        return seconds


@contextmanager
def peer_processes(folders: Sequence[Path], secret: Path) -> Iterator[list[PeerProcess]]:
    """A peer for each folder, an OCI image layout or an empty one; all are members by the secret."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    with ExitStack() as cleanup:
        controls = []
        for folder in folders:
            near, far = context.Pipe()
            process = context.Process(target=_run, args=(far, secret, folder))
            process.start()
            cleanup.callback(process.join)
            cleanup.callback(near.send, "stop")
            controls.append(near)
        yield [_introduced(control) for control in controls]


@contextmanager
def silent_sockets(count: int) -> Iterator[list[Address]]:
    """Addresses at which the kernel accepts connections and nobody says a word."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
        yield [Address(_HOST, listening.getsockname()[1]) for listening in sockets]


def member_credentials(secret: Path) -> MemberCredentials:
    """What the secret makes of a process."""
    return MemberCredentials(MintedMaterial(secret, node="benchmark", clock=lambda: datetime.now(UTC)))


def _introduced(control: Connection) -> PeerProcess:
    port, bare_port = control.recv()
    return PeerProcess(Address(_HOST, port), Address(_HOST, bare_port), control)


def _run(control: Connection, secret: Path, folder: Path) -> None:
    asyncio.run(_serve(control, member_credentials(secret), folder))


async def _serve(control: Connection, credentials: MemberCredentials, folder: Path) -> None:
    node = Node(NodeId.random(), 0)
    clock = asyncio.get_running_loop().time
    index = IndexService(IndexState(node.id, clock), NameIndexState(node.id, clock), Speakers(frozenset, clock))
    async with open_directory_store(folder) as store:
        entitlement = Entitlement(NamingRules(AuthorizationSettings()), lambda _: False)
        given = EntitledStore(SharedStore(store, store), entitlement)
        service = ClusterService(node, given, finder=LocalFinder(given, growing=store))
        door = serve_peers(Address(_HOST, 0), service, credentials=credentials, index=index)
        async with door as port, _bare_door(credentials) as bare_port:
            control.send((port, bare_port))
            while await asyncio.to_thread(control.recv) == "time":
                control.send(time.process_time())


@asynccontextmanager
async def _bare_door(credentials: MemberCredentials) -> AsyncIterator[int]:
    async def echo(raw: bytes, _context: Any) -> bytes:
        return raw

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_BARE, handlers),))
    port = credentials.add_grpc_port(server, f"{_HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
