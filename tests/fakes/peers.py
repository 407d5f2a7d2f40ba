"""Peers with a character, on loopback: real gRPC servers, and what only looks like one."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.content.source import Content, NamedContent, OpenContent
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.transfer.allowance import Priority
from registryd.transfer.uploads import Part, Upload, Uploads
from tests.fakes.entitled import given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from registryd.content.source import RangeOf
    from registryd.observability.metrics import FindOutcome
    from registryd.oci.digest import Digest
    from registryd.oci.reference import TaggedName
    from registryd.transfer.uploads import Socket
    from tests.fakes.entitled import PlainStore

LOOPBACK = Address("127.0.0.1", 0)


@dataclass
class FakePeer:
    """Where a peer is; for those that do not speak gRPC, how many connections they have seen."""

    address: Address
    node: Node = field(default_factory=lambda: Node(NodeId.random(), 0))
    connections: int = 0


@asynccontextmanager
async def good(
    store: PlainStore,
    *,
    address: Address = LOOPBACK,
    content_port: int = 0,
    node: Node | None = None,
    busy: bool = False,
) -> AsyncIterator[FakePeer]:
    """Answers from its store at once. Its character is that of the store: slow, lying, short."""
    node = node or Node(NodeId.random(), content_port)
    async with serve_peers(
        address,
        ClusterService(node, given(store), uploads=BusyUploads() if busy else None),
        credentials=NoCredentials(),
    ) as port:
        yield FakePeer(Address(address.host, port), node)


@asynccontextmanager
async def silent() -> AsyncIterator[FakePeer]:
    """Accepts connections and never says a word."""
    async with _answering(_say_nothing) as peer:
        yield peer


@asynccontextmanager
async def garbling() -> AsyncIterator[FakePeer]:
    """Speaks, but not gRPC."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with _answering(answer) as peer:
        yield peer


@asynccontextmanager
async def resetting() -> AsyncIterator[FakePeer]:
    """Resets every connection as soon as something arrives on it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async with _answering(answer) as peer:
        yield peer


@contextmanager
def unreachable() -> Iterator[FakePeer]:
    """Nobody listens at its address; the port is kept from others."""
    with closing(socket.socket()) as taken:
        taken.bind((LOOPBACK.host, 0))
        yield FakePeer(Address(LOOPBACK.host, taken.getsockname()[1]))


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class BusyUploads(Uploads):
    """Those of a peer that would rather not and does it all the same: it came to have room after it was asked."""

    def is_busy(self, *, is_stripe: bool = False) -> bool:
        return True

    @contextmanager
    def begin(
        self,
        sock: Socket | None = None,
        part: Part = Part.FIRST,
        *,
        receiver: str = "",
        priority: Priority = Priority.PULL,
        is_stripe: bool = False,
    ) -> Iterator[Upload]:
        yield Upload(self, sock, part=part, receiver=receiver, priority=priority, is_stripe=is_stripe)


class SlowStore:
    """Another store, after a pause."""

    def __init__(self, store: PlainStore, *, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    async def find(self, digest: Digest) -> Content:
        await asyncio.sleep(self._seconds)
        return await self._store.find(digest)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        await asyncio.sleep(self._seconds)
        return await self._store.open(digest, wanted)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        await asyncio.sleep(self._seconds)
        return await self._store.resolve(name)


class BoastingStore:
    """Says of everything that it has it, with a size and a media type of its own choice, and has nothing."""

    def __init__(self, *, size: int, media_type: str | None = None) -> None:
        self._size = size
        self._media_type = media_type
        self.opened = 0

    async def find(self, digest: Digest) -> Content:
        return Content(digest, self._size, self._media_type)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        self.opened += 1
        raise OSError("a bug of the store that the peer must not learn about")

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return ()


class FindRecord:
    """Counts how searches ended."""

    def __init__(self) -> None:
        self.outcomes: Counter[FindOutcome] = Counter()

    def find(self, seconds: float, *, outcome: FindOutcome) -> None:
        assert seconds >= 0
        self.outcomes[outcome] += 1


@asynccontextmanager
async def _answering(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[FakePeer]:
    peer = FakePeer(LOOPBACK)
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        writers.append(writer)
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, LOOPBACK.host, 0)
    peer.address = Address(LOOPBACK.host, server.sockets[0].getsockname()[1])
    try:
        yield peer
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # handlers notice the end of their connections


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
