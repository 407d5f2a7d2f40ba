"""Who is asked what a name means, and for how long: in virtual time, by members with a character."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.contract.names import NameAnnouncement, NameAnswer
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerSilent
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.source import ClusterSource
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import SETTLED_SECONDS, NameIndexState
from registryd.cluster.index.naming import name_point, naming_key
from registryd.cluster.index.ring import INDEX_NODES, RendezvousHash
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.index_client.name_search import NameIndex
from registryd.content.naming import Naming
from registryd.content.source import ContentNotFound, NamedContent, StoreUnavailable
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName
from tests.fakes.index_nodes import nobody_coordinates

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.cluster.members.member import Member

pytestmark = pytest.mark.looptime

NAME = TaggedName.parse("registry.example/app:v1")
OWN = 0
MEMBERS = 20
# A peer that is well answers in this time, a silent one is given up after that.
QUICK = 0.002
FIND_TIMEOUT = 1.0
PATIENCE = 0.25


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 3173)


def meaning(number: int) -> NamedContent:
    return NamedContent(Descriptor(OCI_MANIFEST, Digest.of(str(number).encode()), number), float(number))


def now() -> float:
    return asyncio.get_running_loop().time()


class Asked:
    """A member: what it knows, how long it takes to say so, and whether it was asked."""

    def __init__(self, number: int) -> None:
        self.address = address(number)
        self.known: Sequence[NamedContent] = ()
        self.is_settled = True
        self.seconds = QUICK
        self.error: Exception | None = None
        self.questions = 0

    async def resolve(self, name: TaggedName) -> NameAnswer:
        assert name == NAME
        self.questions += 1
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        return NameAnswer(self.known, self.is_settled)

    def fall_silent(self) -> None:
        self.seconds, self.error = FIND_TIMEOUT, PeerSilent("says nothing")


class Ground:
    """A node among members; they are the roster and the candidates, too."""

    def __init__(self, *, limit: int, own: int = OWN) -> None:
        self.members = {address(number): Asked(number) for number in range(1, MEMBERS + 1)}
        self._addresses = frozenset(self.members)
        self.desk = NameIndexState(NodeId("own"), now)
        index = IndexNodes(self, IndexState(NodeId("own"), now), own_place=partial(NodeLocation, address(own)))
        self.source = ClusterSource(
            MemberLocator(self, fanout_limit=limit, coalescing=nobody_coordinates()),
            cast("Any", None),
            names=NameIndex(index, self, self.desk, above=limit),
        )

    def addresses(self) -> frozenset[Address]:
        return self._addresses

    def get(self, wanted: Address) -> Member | None:
        return cast("Member | None", self.members.get(wanted))

    def available(self) -> list[Member]:
        return cast("list[Member]", list(self.members.values()))

    @property
    def index_nodes(self) -> list[Asked]:
        ring = RendezvousHash(self._addresses | {address(OWN)})
        return [self.members[each] for each in ring.index_nodes(name_point(NAME))]

    @property
    def others(self) -> list[Asked]:
        return [member for member in self.members.values() if member not in self.index_nodes]

    def asked(self) -> set[Address]:
        return {member.address for member in self.members.values() if member.questions}

    async def sizes(self) -> list[int]:
        """What the name means, as the sizes by which `meaning` tells them apart."""
        return sorted(named.target.size for named in await self.source.resolve(NAME))


def addresses(members: Collection[Asked]) -> set[Address]:
    return {member.address for member in members}


async def test_in_a_large_cluster_the_names_index_nodes_are_asked_and_nobody_else() -> None:
    ground = Ground(limit=10)
    for number, member in enumerate(ground.index_nodes, start=1):
        member.known = [meaning(number)]
    assert await ground.sizes() == [1, 2, 3]
    assert ground.asked() == addresses(ground.index_nodes)
    assert now() == pytest.approx(QUICK)


async def test_in_a_small_one_everyone_is() -> None:
    ground = Ground(limit=MEMBERS)
    for number, member in enumerate(ground.members.values(), start=1):
        member.known = [meaning(number)]
    assert await ground.sizes() == list(range(1, MEMBERS + 1))


async def test_what_index_nodes_that_know_all_do_not_know_is_not_known() -> None:
    ground = Ground(limit=10)
    for member in ground.others:
        member.known = [meaning(1)]
    assert await ground.sizes() == []
    assert ground.asked() == addresses(ground.index_nodes)


async def test_when_no_index_node_knows_all_members_are_asked_at_random() -> None:
    """They have just started, or are of an older version."""
    ground = Ground(limit=10)
    for member in ground.members.values():
        member.is_settled = False
    for member in ground.others:
        member.known = [meaning(1)]
    assert set(await ground.sizes()) == {1}
    assert len(ground.asked() - addresses(ground.index_nodes)) >= 10 - INDEX_NODES


async def test_what_a_young_index_node_knows_is_enough() -> None:
    ground = Ground(limit=10)
    for member in ground.index_nodes:
        member.is_settled = False
    ground.index_nodes[1].known = [meaning(5)]
    assert await ground.sizes() == [5]
    assert ground.asked() == addresses(ground.index_nodes)


async def test_a_silent_index_node_costs_the_others_patience_and_not_its_time_out() -> None:
    ground = Ground(limit=10)
    silent, *well = ground.index_nodes
    silent.fall_silent()
    well[0].known = [meaning(1)]
    well[1].known = [meaning(2)]
    assert await ground.sizes() == [1, 2]
    assert now() == pytest.approx(QUICK + PATIENCE)


async def test_one_that_fails_costs_nothing() -> None:
    ground = Ground(limit=10)
    failing, *well = ground.index_nodes
    failing.error = StoreUnavailable("out of order")
    well[1].known = [meaning(2)]
    assert await ground.sizes() == [2]
    assert now() == pytest.approx(QUICK)


async def test_one_that_takes_its_time_is_waited_for_a_moment() -> None:
    ground = Ground(limit=10)
    slow, *well = ground.index_nodes
    slow.seconds = 0.2
    slow.known = [meaning(9)]
    well[0].known = [meaning(1)]
    assert await ground.sizes() == [1, 9]
    assert now() == pytest.approx(0.2)


async def test_when_all_index_nodes_are_silent_members_are_asked_at_random() -> None:
    ground = Ground(limit=10)
    for member in ground.index_nodes:
        member.fall_silent()
    for member in ground.others:
        member.known = [meaning(1)]
    assert set(await ground.sizes()) == {1}


async def test_when_nobody_can_say_that_is_what_is_said() -> None:
    ground = Ground(limit=10)
    for member in ground.members.values():
        member.error = StoreUnavailable("out of order")
    with pytest.raises(Exception, match="out of order"):
        await ground.sizes()
    for member in ground.members.values():
        member.error = ContentNotFound("this node itself")
    assert await ground.sizes() == []


async def test_a_node_that_is_an_index_node_itself_remembers() -> None:
    ground = Ground(limit=10)
    own = ground.index_nodes[0].address
    ground = Ground(limit=10, own=int(own.host.rpartition(".")[2]))
    naming = Naming(NAME, meaning(4))
    ground.desk.announce(NameAnnouncement(address(7), {naming_key(naming): naming}))
    assert await ground.sizes() == [4]
    assert own not in ground.asked()
    assert len(ground.asked()) == INDEX_NODES - 1


async def test_only_one_that_has_been_told_all_knows_what_is_not_known() -> None:
    ground = Ground(limit=10)
    own = ground.index_nodes[0].address
    ground = Ground(limit=10, own=int(own.host.rpartition(".")[2]))
    for member in ground.members.values():
        member.is_settled = False
    assert await ground.sizes() == []
    assert len(ground.asked()) >= 10
    await asyncio.sleep(SETTLED_SECONDS)
    for member in ground.members.values():
        member.questions = 0
    assert await ground.sizes() == []
    assert len(ground.asked()) == INDEX_NODES - 1
