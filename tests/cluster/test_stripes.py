"""Stripes of content from a peer that is still receiving it: real stores, doors and gRPC on loopback."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.members.offer import offer_of
from registryd.cluster.rpc.service import ClusterService
from registryd.content.growing import GrowingContent
from registryd.content.ledger import Ledger
from registryd.content.sharing import SharedStore
from registryd.content.sought import STRIPE_HEADER
from registryd.identity.credentials import NoCredentials
from registryd.identity.requester import Requester
from registryd.notation import Address
from registryd.observability.metrics import Metrics
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import PeerBytesDoor
from registryd.store.directory.store import open_directory_store
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES
from tests.contracts.content_store import until
from tests.fakes.entitled import given, said, sought
from tests.fakes.images import sample_bytes
from tests.fakes.peers import LOOPBACK, good
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import stripe_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import web

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.store.directory.store import DirectoryStore
    from registryd.transfer.inflow import Inflow
    from registryd.transfer.stripe_board import StripeBoard
    from tests.cluster.conftest import Lab

DATA = sample_bytes(3 * ROW_BYTES + 7)
DIGEST = Digest.of(DATA)
WHOLE = Span.whole(len(DATA))
PARTS = [stripe_bytes(DATA, stripe) for stripe in range(STRIPES)]


def stripe_sought(stripe: int) -> Sought:
    return replace(sought(DIGEST), stripe=stripe)


@dataclass
class Receiver:
    """A peer that receives the content in stripes, and a node that knows the peer."""

    member: Member
    store: DirectoryStore
    board: StripeBoard
    inflow: Inflow

    async def come(self, stripe: int, count: int = len(DATA)) -> None:
        came = self.board.reached[stripe]
        await self.board.put(stripe, PARTS[stripe][came : came + count])

    async def pass_on(self) -> None:
        while data := await self.board.take():
            self.inflow.take(data)


@asynccontextmanager
async def receiver(lab: Lab, folder: Path, *, has_door: bool) -> AsyncIterator[Receiver]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_directory_store(folder))
        await stack.enter_async_context(aclosing(await store.begin(DIGEST, size=len(DATA))))
        shared = SharedStore(store, store)
        port = 0
        if has_door:
            handle = PeerBytesDoor(store=given(shared), ledger=Ledger(Metrics())).handle
            port = (await stack.enter_async_context(open_door(handle, LOOPBACK))).address.port
        peer = await stack.enter_async_context(good(shared, content_port=port))
        inflow = stack.enter_context(store.inflows.flowing(DIGEST, WHOLE))
        board = stack.enter_context(store.inflows.in_stripes(DIGEST, WHOLE))
        node = await lab.node(peer)
        member = node.members.get(peer.address)
        assert member is not None
        yield Receiver(member, store, board, inflow)


async def follow(member: Member, stripe: int, span: Span, sink: FakeSink) -> None:
    wanted = stripe_sought(stripe)
    offer = offer_of(member, wanted, await member.find(wanted))
    opened = await Opener(NoCredentials()).open(offer, span)
    async with aclosing(opened.body) as body:
        await body.send_to(sink)


@pytest.mark.parametrize("has_door", [True, False], ids=["bytes", "read"])
async def test_stripes_are_followed_to_the_end(lab: Lab, tmp_path: Path, has_door: bool) -> None:
    async with receiver(lab, tmp_path, has_door=has_door) as peer:
        for stripe in range(STRIPES):
            await peer.come(stripe, PIECE_BYTES)
        sinks = [FakeSink() for _ in range(STRIPES)]
        async with asyncio.TaskGroup() as group:
            for stripe, sink in enumerate(sinks):
                group.create_task(follow(peer.member, stripe, Span(5, len(PARTS[stripe])), sink))
            await until(lambda: all_have(sinks, PIECE_BYTES - 5))
            # The last stripes are the first to come, and nothing of them is in the inflow until the others have come.
            for stripe in reversed(range(STRIPES)):
                await peer.come(stripe)
            await peer.pass_on()
        assert [sink.data for sink in sinks] == [part[5:] for part in PARTS]


async def all_have(sinks: list[FakeSink], count: int) -> bool:
    return all(sink.sent >= count for sink in sinks)


async def test_a_peer_tells_how_far_it_is_with_a_stripe(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=False) as peer:
        await peer.come(6, 2 * PIECE_BYTES)
        for stripe, available in ((6, 2 * PIECE_BYTES), (5, 0)):
            answer = await peer.member.find(stripe_sought(stripe))
            content = GrowingContent(
                DIGEST, len(PARTS[stripe]), None, available, is_held_up=available < len(PARTS[stripe])
            )
            assert answer.content == said(content)


async def test_who_waits_for_a_stripe_is_answered_when_it_comes_whatever_else_comes(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=False) as peer:
        shared = SharedStore(peer.store, peer.store)
        service = ClusterService(Node(NodeId("n"), 1), given(shared), growing=peer.store)
        request = pb.FindRequest(digest=str(DIGEST), stripe=6, wait_milliseconds=5000, beyond=PIECE_BYTES - 1)
        waiting = asyncio.create_task(service.find(request, Requester("10.0.0.2")))
        await asyncio.sleep(0.01)
        await peer.come(6)
        await peer.come(5, PIECE_BYTES - 1)
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await peer.come(5, 1)
        reply = await asyncio.wait_for(waiting, 4)  # before it would be answered in any case
        assert reply.content == pb.Content(size=len(PARTS[5]), available=PIECE_BYTES, held_up=True)
        request.wait_milliseconds, request.beyond = 20, 2**64 - 1
        reply = await asyncio.wait_for(service.find(request, Requester("10.0.0.2")), 30)
        assert reply.content == pb.Content(size=len(PARTS[5]), available=PIECE_BYTES, held_up=True)


async def test_what_a_peer_does_not_have_of_a_stripe_is_not_asked_for(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=True) as peer:
        await peer.come(1, PIECE_BYTES)
        with pytest.raises(PeerDeclined, match=f"has only {PIECE_BYTES} bytes yet"):
            await follow(peer.member, 1, Span(PIECE_BYTES, len(PARTS[1])), FakeSink())


async def test_a_door_that_gives_all_of_the_content_in_place_of_a_stripe_is_left(lab: Lab, tmp_path: Path) -> None:
    """As that of an older version, which does not read what says that a stripe is wanted."""
    async with receiver(lab, tmp_path, has_door=False) as peer:
        for stripe in range(STRIPES):
            await peer.come(stripe)
        await peer.pass_on()
        door = PeerBytesDoor(store=given(SharedStore(peer.store, peer.store)), ledger=Ledger(Metrics()))
        asked = []

        async def older(request: web.BaseRequest) -> web.StreamResponse:
            headers = request.headers.copy()
            asked.append(headers.pop(STRIPE_HEADER))
            return await door.handle(request.clone(headers=headers))

        async with open_door(older, LOOPBACK) as opened:
            wanted = stripe_sought(3)
            offer = offer_of(peer.member, wanted, await peer.member.find(wanted))
            offer = replace(offer, door=Address(LOOPBACK.host, opened.address.port))
            body = (await Opener(NoCredentials()).open(offer, Span.whole(len(PARTS[3])))).body
            async with aclosing(body):
                await body.send_to(sink := FakeSink())
        assert asked == ["3"]
        assert sink.data == PARTS[3]
