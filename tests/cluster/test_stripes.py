"""Stripes of content from a peer that is still receiving it: real stores, doors and gRPC on loopback."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.doors import Doors, OwnPorts
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.members.offer import Offer, offer_of
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.service import ClusterService
from registryd.content.blocked import Blocklist, BlockRules
from registryd.content.growing import GrowingContent
from registryd.content.ledger import Ledger
from registryd.content.sharing import SharedStore
from registryd.content.sought import STANDING_HEADER, STRIPE_HEADER, WAIT_HEADER
from registryd.content.source import ContentUnavailable
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
from registryd.transfer.errors import SourceBroken, SourceRefused
from registryd.transfer.striping import PIECE_BYTES, ROW_BYTES, STRIPES
from registryd.transfer.uploads import Uploads
from tests.contracts.content_store import until
from tests.fakes.entitled import given, said, sought
from tests.fakes.images import sample_bytes
from tests.fakes.peers import LOOPBACK, good
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import stripe_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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


FULL = Uploads(most=0)


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
            finder = LocalFinder(given(shared), growing=store)
            handle = PeerBytesDoor(store=given(shared), ledger=Ledger(Metrics()), wait_arrival=finder.find).handle
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
        finder = LocalFinder(given(shared), growing=peer.store)
        service = ClusterService(Node(NodeId("n"), 1), given(shared), finder=finder)
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


# Doors that are asked for bytes at once


def unasked(member: Member, stripe: int, start: int, *, door: Address) -> Offer:
    """What the member would have to say."""
    content = GrowingContent(DIGEST, len(PARTS[stripe]), None, start + 1)
    return Offer(member, stripe_sought(stripe), content, door, busy=False)


async def test_a_door_that_is_asked_at_once_gives_what_comes_while_it_waits(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=True) as peer:
        opener = Opener(NoCredentials(), doors=Doors(OwnPorts(1, 1)))
        await peer.member.probe()
        door = opener.unasked(peer.member)
        assert door is not None
        await peer.come(5, PIECE_BYTES)
        offer, span = unasked(peer.member, 5, PIECE_BYTES, door=door), Span(PIECE_BYTES, len(PARTS[5]))
        with pytest.raises(SourceRefused, match="404"):
            await opener.open_unasked(offer, span, seconds=0.05)
        assert opener.unasked(peer.member) == door
        opening = asyncio.create_task(opener.open_unasked(offer, span, seconds=5.0))
        await asyncio.sleep(0.05)
        assert not opening.done()
        await peer.come(5)
        async with aclosing(await asyncio.wait_for(opening, 4)) as body:
            await body.send_to(sink := FakeSink())
        assert sink.data == PARTS[5][PIECE_BYTES:]


@pytest.mark.parametrize("manner", ["does not wait", "does not say whose it is", "says what is unknown", "is another"])
async def test_a_door_that_says_less_than_a_member_is_not_believed(lab: Lab, tmp_path: Path, manner: str) -> None:
    """As that of an older version: the member is asked first from then on, for a while."""
    async with receiver(lab, tmp_path, has_door=True) as peer:
        real = PeerBytesDoor(store=given(SharedStore(peer.store, peer.store)), ledger=Ledger(Metrics()))
        asked: list[str] = []

        async def older(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request.headers[WAIT_HEADER])
            return await real.handle(request)

        async def forgetful(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request.headers[WAIT_HEADER])
            said = {} if manner == "does not say whose it is" else {STANDING_HEADER: "nobodys"}
            size = len(PARTS[2]) + (manner == "is another")
            if manner == "is another":
                said = {STANDING_HEADER: "repository"}
            ranged = {"Content-Range": f"bytes 0-{size - 1}/{size}", **said}
            return web.Response(status=206, body=PARTS[2] + bytes(size - len(PARTS[2])), headers=ranged)

        opener = Opener(NoCredentials(), doors=Doors(OwnPorts(1, 1)))
        await peer.member.probe()
        async with open_door(older if manner == "does not wait" else forgetful, LOOPBACK) as opened:
            offer = unasked(peer.member, 2, 0, door=Address(LOOPBACK.host, opened.address.port))
            with pytest.raises(SourceBroken):
                await opener.open_unasked(offer, Span.whole(len(PARTS[2])), seconds=2.5)
        assert asked == ["2500"]
        assert opener.unasked(peer.member) is None


async def test_a_door_that_has_no_place_is_not_asked_why(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=True) as peer:
        full = PeerBytesDoor(store=given(SharedStore(peer.store, peer.store)), ledger=Ledger(Metrics()), uploads=FULL)
        async with open_door(full.handle, LOOPBACK) as opened:
            offer = unasked(peer.member, 2, 0, door=Address(LOOPBACK.host, opened.address.port))
            with pytest.raises(PeerDeclined):
                await Opener(NoCredentials()).open_unasked(offer, Span.whole(len(PARTS[2])), seconds=0.05)


async def test_what_is_blocked_is_asked_for_at_no_door(lab: Lab, tmp_path: Path) -> None:
    async with receiver(lab, tmp_path, has_door=True) as peer:
        blocklist = Blocklist(BlockRules(frozenset({DIGEST})))
        offer = unasked(peer.member, 2, 0, door=Address(LOOPBACK.host, 1))
        with pytest.raises(ContentUnavailable, match="is blocked"):
            await Opener(NoCredentials(), blocklist=blocklist).open_unasked(offer, Span.whole(9), seconds=0.05)
