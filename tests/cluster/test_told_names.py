"""Names between two real ends: what is announced to an index node is what it answers with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.names import MAX_NAMED_TARGETS, NameAnnouncement
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerDeclined, PeerOutdated
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import SETTLED_SECONDS, NameIndexState
from registryd.cluster.index.naming import naming_key
from registryd.cluster.index.speakers import Speakers
from registryd.cluster.members.member import Member
from registryd.cluster.rpc.index_service import IndexService
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.content.naming import Naming
from registryd.content.source import NamedContent
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from tests.cluster.conftest import FIND_TIMEOUT
from tests.fakes.entitled import given
from tests.fakes.images import oci_image
from tests.fakes.peers import LOOPBACK, good
from tests.fakes.sources import FailingSource, MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.entitled import PlainStore
    from tests.fakes.images import SampleImage

OLD, NEW = oci_image(layers=(b"old",)), oci_image(layers=(b"new",))
NAME = OLD.name
# Whatever a holder says of itself.
SOMEWHERE = Address("198.51.100.1", 3173)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def naming(image: SampleImage, seen_at: float) -> Naming:
    return Naming(image.name, NamedContent(image.target, seen_at))


def says(*namings: Naming) -> NameAnnouncement:
    return NameAnnouncement(SOMEWHERE, {naming_key(each): each for each in namings})


@asynccontextmanager
async def index_node(store: PlainStore, desk: NameIndexState) -> AsyncIterator[Address]:
    node = Node(NodeId.random(), 0)
    service = ClusterService(node, given(store), told_of=desk.answer)
    index = IndexService(IndexState(node.id, lambda: 0.0), desk, Speakers(frozenset, lambda: 0.0))
    async with serve_peers(LOOPBACK, service, credentials=NoCredentials(), index=index) as port:
        yield Address(LOOPBACK.host, port)


@asynccontextmanager
async def member_at(address: Address) -> AsyncIterator[Member]:
    peer = GrpcPeer(address, timeout=FIND_TIMEOUT, credentials=NoCredentials())
    try:
        yield Member(address, peer, own_id=NodeId.random(), on_change=lambda _: None)
    finally:
        await peer.aclose()


async def test_an_index_node_answers_with_what_it_knows_and_what_it_was_told() -> None:
    store = MemorySource()
    store.add_image(OLD, seen_at=1000.0)
    clock = Clock()
    desk = NameIndexState(NodeId("desk"), clock)
    async with index_node(store, desk) as address, member_at(address) as member:
        receipt = await member.announce_names(says(naming(NEW, 2000.0), naming(OLD, 500.0)))
        assert receipt.by == NodeId("desk")
        answer = await member.resolve(NAME)
        assert answer.known == (NamedContent(NEW.target, 2000.0), NamedContent(OLD.target, 1000.0))
        assert not answer.is_settled
        clock.now = SETTLED_SECONDS
        assert (await member.resolve(NAME)).is_settled
        await member.announce_names(NameAnnouncement(SOMEWHERE, {}, is_all=True))
        assert (await member.resolve(NAME)).known == (NamedContent(OLD.target, 1000.0),)


async def test_what_is_announced_is_said_by_the_host_that_it_comes_from() -> None:
    desk = NameIndexState(NodeId("desk"), lambda: 0.0)
    of_another = naming(OLD, 1000.0)
    desk.announce(says(of_another))
    async with index_node(MemorySource(), desk) as address, member_at(address) as member:
        await member.announce_names(NameAnnouncement(SOMEWHERE, {}, [naming_key(of_another)], is_all=True))
        assert (await member.resolve(NAME)).known == (of_another.meaning,)


async def test_what_was_told_is_answered_while_the_store_cannot_say() -> None:
    desk = NameIndexState(NodeId("desk"), lambda: 0.0)
    async with index_node(FailingSource(), desk) as address, member_at(address) as member:
        with pytest.raises(PeerDeclined, match="out of order"):
            await member.resolve(NAME)
        await member.announce_names(says(naming(NEW, 2000.0)))
        assert (await member.resolve(NAME)).known == (NamedContent(NEW.target, 2000.0),)


async def test_an_answer_holds_the_newest_of_both() -> None:
    store = MemorySource()
    store.add_image(NEW, seen_at=5000.0)
    desk = NameIndexState(NodeId("desk"), lambda: 0.0)
    for number in range(2 * MAX_NAMED_TARGETS):
        each = naming(oci_image(layers=(b"%d" % number,)), float(number))
        desk.announce(NameAnnouncement(Address(f"10.0.0.{number}", 1), {naming_key(each): each}))
    async with index_node(store, desk) as address, member_at(address) as member:
        known = (await member.resolve(NAME)).known
    newest = [5000.0, *(float(number) for number in range(31, 31 - MAX_NAMED_TARGETS + 1, -1))]
    assert [named.seen_at for named in known] == newest


async def test_an_older_version_does_not_know_the_question_and_is_well() -> None:
    async with good(MemorySource(NEW)) as peer, member_at(peer.address) as member:
        with pytest.raises(PeerOutdated, match="too old"):
            await member.announce_names(says(naming(NEW, 2000.0)))
        assert member.is_available
        answer = await member.resolve(NAME)
        assert [named.target for named in answer.known] == [NEW.target]
        assert not answer.is_settled


async def test_an_announcement_that_is_not_valid_is_refused_whole() -> None:
    desk = NameIndexState(NodeId("desk"), lambda: 0.0)
    async with index_node(MemorySource(), desk) as address, member_at(address) as member:
        too_many = [naming(oci_image(layers=(b"%d" % number,)), 1.0) for number in range(MAX_NAMED_TARGETS + 1)]
        with pytest.raises(PeerDeclined, match="too much"):
            await member.announce_names(says(*too_many))
        assert len(desk) == 0
