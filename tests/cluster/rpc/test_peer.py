from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.errors import PeerDeclined, PeerGarbled, PeerSilent, PeerUnreachable
from registryd.cluster.members.member import MemberState
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.content.source import Content, ContentNotFound
from registryd.identity.credentials import NoCredentials
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.body import BytesBody
from registryd.transfer.striping import STRIPES
from tests.cluster.conftest import FIND_TIMEOUT, SHORT, until
from tests.fakes.bodies import StalledBody
from tests.fakes.entitled import said, sought
from tests.fakes.images import sample_bytes
from tests.fakes.peers import BoastingStore, FakePeer, SlowStore, garbling, good, resetting, silent, unreachable
from tests.fakes.sources import MemorySource, StripedSource, stripe_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.conftest import Lab

DATA = sample_bytes(2_500_000)
DIGEST = Digest.of(DATA)


@pytest.fixture
def store() -> MemorySource:
    store = MemorySource()
    store.add(DIGEST, DATA)
    return store


@asynccontextmanager
async def client(peer: FakePeer, *, timeout: float = FIND_TIMEOUT) -> AsyncIterator[GrpcPeer]:
    caller = GrpcPeer(peer.address, timeout=timeout, credentials=NoCredentials())
    try:
        yield caller
    finally:
        await caller.aclose()


async def read(peer: GrpcPeer, span: Span) -> bytes:
    async with aclosing(peer.read(sought(DIGEST), span)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_nobody_there() -> None:
    with unreachable() as nobody:
        async with client(nobody) as peer:
            begun = time.monotonic()
            with pytest.raises(PeerUnreachable):
                await peer.find(sought(DIGEST))
            assert time.monotonic() - begun < FIND_TIMEOUT


async def test_silence(lab: Lab) -> None:
    async with client(await lab.start(silent()), timeout=SHORT) as peer:
        with pytest.raises(PeerSilent):
            await peer.hello()


async def test_another_protocol(lab: Lab) -> None:
    async with client(await lab.start(garbling())) as peer:
        with pytest.raises((PeerUnreachable, PeerGarbled)):
            await peer.hello()


async def test_reset(lab: Lab) -> None:
    async with client(await lab.start(resetting())) as peer:
        with pytest.raises(PeerUnreachable):
            await peer.hello()


async def test_an_answer_that_makes_no_sense(lab: Lab) -> None:
    for store in (BoastingStore(size=2**64 - 1), BoastingStore(size=1, media_type="no type\r\nX: y")):
        async with client(await lab.good(store)) as peer:
            with pytest.raises(PeerGarbled):
                await peer.find(sought(DIGEST))


async def test_bytes(lab: Lab, store: MemorySource) -> None:
    async with client(await lab.good(store)) as peer:
        assert await read(peer, Span.whole(len(DATA))) == DATA
        assert await read(peer, Span(7, 9)) == DATA[7:9]
        assert await read(peer, Span(3, 3)) == b""


@pytest.mark.parametrize("stripe", [0, 5, STRIPES - 1])
async def test_a_stripe_is_found_and_read(lab: Lab, stripe: int) -> None:
    striped = StripedSource()
    striped.add(DIGEST, DATA)
    wanted, part = replace(sought(DIGEST), stripe=stripe), stripe_bytes(DATA, stripe)
    async with client(await lab.good(striped)) as peer:
        content = (await peer.find(wanted)).content
        assert content is not None
        assert content.size == len(part)
        assert (await peer.find(sought(DIGEST))).content == said(Content(DIGEST, len(DATA), None))
        async with aclosing(peer.read(wanted, Span(7, len(part)))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == part[7:]
        with pytest.raises(PeerDeclined, match="the content has"):
            async with aclosing(peer.read(wanted, Span(0, len(part) + 1))) as chunks:
                [chunk async for chunk in chunks]


async def test_a_read_of_what_is_still_arriving_may_be_silent_for_longer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source may be held up; whoever reads it finds out whether it is."""
    monkeypatch.setattr(limits, "READ_STALL_TIMEOUT", 0.3)
    store = MemorySource(make_body=lambda data: StalledBody(data, stalls_after=1000))
    store.add(DIGEST, DATA)
    async with client(await lab.good(store)) as peer:
        for is_growing in (False, True):
            async with aclosing(peer.read(sought(DIGEST), Span(0, 2000), is_growing=is_growing)) as chunks:
                assert len(await anext(chunks)) == 1000
                with pytest.raises(TimeoutError if is_growing else PeerSilent):
                    async with asyncio.timeout(3 if is_growing else None):
                        await anext(chunks)


async def test_a_read_is_refused_with_a_reason(lab: Lab, store: MemorySource) -> None:
    async with client(await lab.good(store)) as peer:
        with pytest.raises(PeerDeclined, match="the content has"):
            await read(peer, Span(0, len(DATA) + 1))
        store.remove(DIGEST)
        with pytest.raises(ContentNotFound):
            await read(peer, Span(0, 1))


async def test_more_bytes_than_asked_for(lab: Lab) -> None:
    store = MemorySource(make_body=lambda data: BytesBody(data + b"more"))
    store.add(DIGEST, DATA)
    async with client(await lab.good(store)) as peer:
        with pytest.raises(PeerGarbled, match="more than"):
            await read(peer, Span(0, 10))


async def test_fewer_bytes_than_asked_for(lab: Lab) -> None:
    store = MemorySource(make_body=lambda data: BytesBody(data[:-1]))
    store.add(DIGEST, DATA)
    async with client(await lab.good(store)) as peer:
        with pytest.raises(PeerGarbled, match="1 bytes early"):
            await read(peer, Span(0, 10))


async def test_a_closed_connection_is_a_peer_that_is_gone_and_not_a_cancellation(lab: Lab) -> None:
    peer = GrpcPeer((await lab.start(silent())).address, timeout=FIND_TIMEOUT, credentials=NoCredentials())
    asking = asyncio.create_task(peer.find(sought(DIGEST)))
    await asyncio.sleep(0.05)
    await peer.aclose()
    with pytest.raises(PeerUnreachable):
        await asking
    with pytest.raises(PeerUnreachable, match="no peer any more"):
        await peer.find(sought(DIGEST))


async def test_cancelling_a_question_is_a_cancellation(lab: Lab) -> None:
    async with client(await lab.start(silent())) as peer:
        asking = asyncio.create_task(peer.find(sought(DIGEST)))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_cancelled_question_does_not_keep_the_connection(lab: Lab, store: MemorySource) -> None:
    """A loser of a race must not wait for the garbage collector, which an idle agent has no work for."""
    peer = await lab.good(SlowStore(store, seconds=0.3))
    gc.disable()
    try:
        async with client(peer) as caller:
            await caller.hello()
            before = count_sockets()
            asking = asyncio.create_task(caller.find(sought(DIGEST)))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await until(lambda: count_sockets() <= before - 2)  # both ends are in this process
    finally:
        gc.enable()


def count_sockets() -> int:
    return sum("socket:" in os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir())


async def test_a_flaky_peer_is_asked_again_when_it_is_back(lab: Lab, store: MemorySource) -> None:
    async with good(store) as peer:
        node = await lab.node(peer)
        await node.source.find(sought(DIGEST))
    with pytest.raises(Exception, match=str(peer.address)):
        await node.source.find(sought(DIGEST))
    assert node.state_of(peer) is MemberState.SET_ASIDE
    with pytest.raises(ContentNotFound):
        await node.source.find(sought(DIGEST))
    async with good(store, address=peer.address):
        await until(lambda: node.state_of(peer) is MemberState.UP)
        assert (await node.source.find(sought(DIGEST))).size == len(DATA)


async def test_two_agents_that_know_each_other_and_themselves(lab: Lab, store: MemorySource) -> None:
    peer = await lab.good(SlowStore(store, seconds=0.01))
    own = await lab.good(MemorySource())
    node = await lab.node(peer, own, own_id=own.node.id)
    assert (await node.source.find(sought(DIGEST))).size == len(DATA)
    await until(lambda: node.state_of(own) is MemberState.SELF)
