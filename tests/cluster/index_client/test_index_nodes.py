"""Whose word that nobody has it is believed: with real desks, in virtual time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.bound import bounded
from registryd.cluster.contract.index import Announcement, Claim, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerSilent
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.ring import RendezvousHash
from registryd.cluster.index.view import CurrentView, View
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.members.member import Member

pytestmark = pytest.mark.looptime

# How long all nodes of a large cluster may have to wait.
QUEUE = 2.0
OWN = 0
OTHERS = range(1, 5)


def place(number: int) -> NodeLocation:
    return NodeLocation(Address(f"10.0.0.{number}", 3173))


EVERYONE = frozenset(place(number).address for number in (OWN, *OTHERS))


class IndexNode:
    """An index node that has been told everything, in a view of its own."""

    def __init__(self, number: int) -> None:
        self.view: View | None = View.of(EVERYONE)
        self.is_silent = False
        self.seconds = 0.0
        self.asked = 0
        self.desk = IndexState(NodeId(f"node-{number}"), lambda: 0.0, view=lambda: self.view)
        self.hear_all(self.view)

    def hear_all(self, view: View) -> None:
        for number in (OWN, *OTHERS):
            process, own_id = NodeId(f"node-{number}"), self.desk.announce(Announcement(place(99))).by
            self.desk.announce(Announcement(place(number), process=process, view=view.name, complete_at=own_id))

    async def claim(self, claim: Claim) -> ClaimReply:
        self.asked += 1
        if self.is_silent:
            await asyncio.sleep(1 + QUEUE)
            raise PeerSilent("says nothing")
        await asyncio.sleep(self.seconds)
        return await self.desk.decide(claim)


class Cluster:
    """A roster of index nodes, and the node that asks them, which is one itself."""

    def __init__(self) -> None:
        self.nodes = {place(number).address: IndexNode(number) for number in (OWN, *OTHERS)}
        self.aside: frozenset[Address] = frozenset()
        self.known = EVERYONE
        self._addresses: frozenset[Address] = frozenset()
        own = partial(place, OWN)
        view = CurrentView(self, own, most=len(EVERYONE))
        self.index = IndexNodes(self, self.nodes[place(OWN).address].desk, own_place=own, view=view)

    def discovered(self) -> frozenset[Address]:
        return self.known

    def addresses(self) -> frozenset[Address]:
        if self._addresses != self.known - self.aside:
            self._addresses = self.known - self.aside
        return self._addresses

    def get(self, address: Address) -> Member | None:
        return cast("Any", self.nodes[address]) if address in self.addresses() else None

    async def ask(self, digest: Digest) -> ClaimReply:
        verdict = await self.index.claim(Claim(digest, place(OWN)))
        assert verdict
        assert not verdict.sources
        return verdict


def digests_of(first: int) -> list[Digest]:
    """Some whose first index node is this one."""
    ring = RendezvousHash(EVERYONE)
    digests = [Digest.of(str(attempt).encode()) for attempt in range(100)]
    return [digest for digest in digests if ring.index_nodes(digest)[0] == place(first).address]


@pytest.mark.parametrize("first", [OWN, 1])
async def test_the_first_index_node_is_believed_when_it_sees_the_same_members(first: int) -> None:
    cluster = Cluster()
    digest = digests_of(first)[0]
    assert (await cluster.ask(digest)).view == View.of(EVERYONE).name


@pytest.mark.parametrize("first", [OWN, 1])
async def test_who_has_not_told_it_everything_is_named(first: int) -> None:
    cluster = Cluster()
    cluster.nodes[place(first).address].desk.announce(Announcement(place(3), process=NodeId("anew")))
    verdict = await cluster.ask(digests_of(first)[0])
    assert (verdict.view, verdict.unheard) == (View.of(EVERYONE).name, (place(3).address,))


async def test_one_that_sees_other_members_is_not_believed() -> None:
    cluster = Cluster()
    other = View.of(EVERYONE - {place(4).address})
    cluster.nodes[place(1).address].view = other
    cluster.nodes[place(1).address].hear_all(other)
    assert (await cluster.ask(digests_of(1)[0])).view == 0


async def test_nobody_is_believed_by_a_node_that_sees_others_than_they_do() -> None:
    cluster = Cluster()
    cluster.known = EVERYONE - {place(4).address}
    for digest in digests_of(1):
        assert (await cluster.ask(digest)).view == 0


async def test_the_second_is_not_believed_because_it_knows_of_no_claims() -> None:
    cluster = Cluster()
    cluster.nodes[place(1).address].is_silent = True
    verdict = await cluster.ask(digests_of(1)[0])
    assert (verdict.view, verdict.unheard) == (0, ())


async def test_neither_is_the_second_when_the_first_is_set_aside() -> None:
    cluster = Cluster()
    cluster.aside = frozenset({place(1).address})
    assert (await cluster.ask(digests_of(1)[0])).view == 0
    # The others' digests have the same first index node for everyone, whoever has set aside whom.
    assert (await cluster.ask(digests_of(2)[0])).view == View.of(EVERYONE).name


async def test_where_nobody_asks_everyone_nobody_needs_to_be_believed() -> None:
    cluster = Cluster()
    index = IndexNodes(cluster, cluster.nodes[place(OWN).address].desk, own_place=partial(place, OWN))
    verdict = await index.claim(Claim(digests_of(1)[0], place(OWN)))
    assert verdict
    assert verdict.view == 0


class TestNodesThatAllAskAtTheSameMoment:
    """The first index node has much to do, or it is gone, or it hangs: a claim by a node of a large cluster."""

    def setup_method(self) -> None:
        self.cluster = Cluster()
        self.digest = digests_of(1)[0]
        self.first = self.cluster.nodes[place(1).address]
        self.there: frozenset[Address] = EVERYONE
        self.looked_for: list[Address] = []

    async def claim(self, *, queue: float = QUEUE) -> tuple[ClaimReply | None, float]:
        """The verdict, and the seconds after which it came."""
        own, begun = self.cluster.nodes[place(OWN).address].desk, asyncio.get_running_loop().time()
        index = IndexNodes(
            self.cluster, own, own_place=partial(place, OWN), queue=lambda: queue, is_there=self.accepts_connections
        )
        verdict = await index.claim(Claim(self.digest, place(OWN)))
        return verdict, asyncio.get_running_loop().time() - begun

    async def accepts_connections(self, address: Address) -> bool:
        self.looked_for.append(address)
        await asyncio.sleep(0.1)
        return address in self.there

    def asked(self) -> list[Address]:
        return [address for address, node in self.cluster.nodes.items() if node.asked]

    async def test_the_first_index_node_is_waited_for_while_it_is_there(self) -> None:
        self.first.seconds = 1.7
        verdict, seconds = await self.claim()
        assert verdict
        assert seconds == pytest.approx(1.7)
        assert self.asked() == [place(1).address]

    async def test_one_that_is_gone_is_not_waited_for(self) -> None:
        self.first.is_silent = True
        self.there -= {place(1).address}
        verdict, seconds = await self.claim()
        assert verdict
        assert seconds == pytest.approx(0.6)

    async def test_one_that_hangs_is_waited_for_as_long_as_a_queue_takes(self) -> None:
        self.first.is_silent = True
        verdict, seconds = await self.claim()
        assert verdict
        assert seconds == pytest.approx(0.5 + QUEUE)

    async def test_one_that_hangs_is_waited_for_once(self) -> None:
        self.first.is_silent = True
        own = self.cluster.nodes[place(OWN).address].desk
        index = IndexNodes(
            self.cluster, own, own_place=partial(place, OWN), queue=lambda: QUEUE, is_there=self.accepts_connections
        )
        took = []
        for _ in range(2):
            begun = asyncio.get_running_loop().time()
            assert await index.claim(Claim(self.digest, place(OWN)))
            took.append(asyncio.get_running_loop().time() - begun)
        assert took == [pytest.approx(0.5 + QUEUE), pytest.approx(0.5)]

    async def test_one_for_which_no_time_was_left_is_not_said_to_hang(self) -> None:
        index = IndexNodes(
            self.cluster,
            self.cluster.nodes[place(OWN).address].desk,
            own_place=partial(place, OWN),
            queue=lambda: QUEUE,
            is_there=self.accepts_connections,
        )
        digest = next(digest for digest in digests_of(1) if place(OWN).address not in index.of(digest)[:3])
        first, second, third = (self.cluster.nodes[address] for address in index.of(digest)[:3])
        first.is_silent = second.is_silent = True
        assert await index.claim(Claim(digest, place(OWN)))
        second.is_silent, second.seconds = False, 1.7
        assert await index.claim(Claim(digest, place(OWN)))
        assert [first.asked, second.asked, third.asked] == [2, 2, 1]

    async def test_several_that_hang_are_not_each_waited_for_so_long(self) -> None:
        for node in self.cluster.nodes.values():
            node.is_silent = True
        _, seconds = await self.claim()
        assert seconds <= 0.5 + QUEUE + 3 * (0.5 + 0.1) + 1 + QUEUE

    async def test_in_a_small_cluster_the_next_one_is_asked_soon(self) -> None:
        self.first.seconds = 0.9
        verdict, seconds = await self.claim(queue=0.1)
        assert verdict
        assert seconds == pytest.approx(0.5)
        assert self.looked_for == []

    async def test_the_wait_does_not_count_against_the_time_of_a_search(self) -> None:
        self.first.seconds = 2.4
        async with bounded(1.0):
            verdict, seconds = await self.claim()
        assert verdict
        assert seconds == pytest.approx(2.4)
