"""Content that is still arriving at a peer: real stores, doors and gRPC on loopback."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.rpc.codec import find_reply, finding
from registryd.content.growing import GrowingContent
from registryd.content.ledger import Ledger
from registryd.content.sharing import SharedStore
from registryd.content.source import Content, ContentNotFound
from registryd.observability.metrics import FindOutcome, Metrics
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import PeerBytesDoor
from registryd.store.directory.store import open_directory_store
from registryd.transfer.errors import SourcesExhausted
from tests.contracts.content_store import until
from tests.fakes.entitled import given, sought
from tests.fakes.images import sample_bytes
from tests.fakes.peers import LOOPBACK, FakePeer, good
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.content.source import OpenContent
    from registryd.content.writer import Ingest
    from registryd.store.directory.store import DirectoryStore
    from tests.cluster.conftest import Lab

# What the store's writer passes on at once, and large enough not to be read whole.
PIECE = 1024 * 1024
DATA = sample_bytes(3 * PIECE)
DIGEST = Digest.of(DATA)


@dataclass
class GrowingPeer:
    """A peer at which the content is arriving; `address` is what a node has to know."""

    peer: FakePeer
    store: DirectoryStore
    ingest: Ingest

    async def receive(self, *pieces: int) -> None:
        for piece in pieces:
            await self.ingest.write(DATA[piece * PIECE : (piece + 1) * PIECE])


@asynccontextmanager
async def growing_peer(folder: Path, *, pieces: int, has_door: bool = True) -> AsyncIterator[GrowingPeer]:
    """So many pieces have arrived already."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_directory_store(folder))
        ingest = await stack.enter_async_context(aclosing(await store.begin(DIGEST, size=len(DATA))))
        shared = SharedStore(store, store)
        port = 0
        if has_door:
            handle = PeerBytesDoor(store=given(shared), ledger=Ledger(Metrics())).handle
            port = (await stack.enter_async_context(open_door(handle, LOOPBACK))).address.port
        growing = GrowingPeer(await stack.enter_async_context(good(shared, content_port=port)), store, ingest)
        await growing.receive(*range(pieces))
        yield growing


async def send(opened: OpenContent, sink: FakeSink) -> None:
    async with aclosing(opened.body) as body:
        await body.send_to(sink)


async def has(sink: FakeSink, count: int) -> bool:
    return sink.sent >= count


@pytest.mark.parametrize("has_door", [True, False], ids=["bytes", "read"])
async def test_a_growing_source_is_followed_to_the_end(lab: Lab, tmp_path: Path, has_door: bool) -> None:
    growing = await lab.start(growing_peer(tmp_path / "a", pieces=1, has_door=has_door))
    node = await lab.node(growing.peer)
    assert await node.source.find(sought(DIGEST)) == GrowingContent(DIGEST, len(DATA), None, PIECE)
    opened = await node.source.open(sought(DIGEST), Span.whole)
    sending = asyncio.create_task(send(opened, sink := FakeSink()))
    await until(lambda: has(sink, PIECE))
    await growing.receive(1, 2)
    await growing.ingest.commit()
    await sending
    assert sink.data == DATA


async def test_what_has_not_begun_to_arrive_is_not_found(lab: Lab, tmp_path: Path) -> None:
    growing = await lab.start(growing_peer(tmp_path / "a", pieces=0))
    node = await lab.node(growing.peer)
    with pytest.raises(ContentNotFound):
        await node.source.find(sought(DIGEST))
    assert node.record.outcomes == {FindOutcome.ABSENT: 1}


async def test_a_source_that_gives_up_is_left_for_another(lab: Lab, tmp_path: Path) -> None:
    first = await lab.start(growing_peer(tmp_path / "a", pieces=2))
    second = await lab.start(growing_peer(tmp_path / "b", pieces=1))
    node = await lab.node(first.peer, second.peer)
    opened = await node.source.open(sought(DIGEST), Span.whole)
    sending = asyncio.create_task(send(opened, sink := FakeSink()))
    await until(lambda: has(sink, 2 * PIECE))
    await second.receive(1, 2)
    await first.ingest.aclose()
    await sending
    assert sink.data == DATA


async def test_nobody_waits_for_a_source_that_is_not_ahead(lab: Lab, tmp_path: Path) -> None:
    """It may be waiting for us."""
    first = await lab.start(growing_peer(tmp_path / "a", pieces=2))
    second = await lab.start(growing_peer(tmp_path / "b", pieces=1))
    node = await lab.node(first.peer, second.peer)
    opened = await node.source.open(sought(DIGEST), Span.whole)
    sending = asyncio.create_task(send(opened, sink := FakeSink()))
    await until(lambda: has(sink, 2 * PIECE))
    await second.receive(1)
    await first.ingest.aclose()
    with pytest.raises(SourcesExhausted, match="at byte 2097152"):
        await asyncio.wait_for(sending, 4)  # a member that is asked to wait answers after 5 s
    assert sink.data == DATA[: 2 * PIECE]


async def test_whole_content_is_preferred_and_then_the_furthest(lab: Lab, tmp_path: Path) -> None:
    peers = [await lab.start(growing_peer(tmp_path / str(pieces), pieces=pieces)) for pieces in (1, 2, 3)]
    await peers[2].ingest.commit()
    node = await lab.node(*(peer.peer for peer in peers))
    assert await node.source.find(sought(DIGEST)) == Content(DIGEST, len(DATA), None)
    node = await lab.node(*(peer.peer for peer in peers[:2]))
    assert await node.source.find(sought(DIGEST)) == GrowingContent(DIGEST, len(DATA), None, 2 * PIECE)


# ---------------------------------------------------------------- on the wire

HERE = Node(NodeId("there"), 1)


@pytest.mark.parametrize(
    "content",
    [
        Content(DIGEST, 10, None),
        GrowingContent(DIGEST, 10, "a/b", 0),
        GrowingContent(DIGEST, 10, None, 10),
        GrowingContent(DIGEST, 10, None, 3, withheld=7),
        GrowingContent(DIGEST, 10, None, 3, is_held_up=True),
    ],
)
def test_an_answer_tells_whole_from_growing(content: Content) -> None:
    assert finding(find_reply(HERE, content, busy=False), DIGEST).content == content


@pytest.mark.parametrize(("available", "withheld"), [(11, 0), (5, 6), (0, 1 << 63)])
def test_more_than_all_cannot_have_arrived(available: int, withheld: int) -> None:
    content = pb.Content(size=10, available=available, withheld=withheld)
    reply = pb.FindReply(node=pb.Node(id="there"), content=content)
    with pytest.raises(PeerGarbled):
        finding(reply, DIGEST)
