"""What index nodes are told of names, and when: in virtual time, with real desks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.scope import open_scope
from registryd.cluster.contract.index import NodeLocation, Receipt
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerOutdated, PeerSilent
from registryd.cluster.index.names import NAME_SECONDS, NameIndexState
from registryd.cluster.index.naming import name_point
from registryd.cluster.index.ring import INDEX_NODES, RendezvousHash
from registryd.cluster.index_client.telling_names import announce_names
from registryd.cluster.rpc.name_codec import MAX_NAMINGS
from registryd.notation import Address
from registryd.oci.reference import TaggedName
from tests.fakes.images import oci_image
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.members.member import Member
    from registryd.oci.digest import Digest
    from tests.fakes.images import SampleImage

pytestmark = pytest.mark.looptime

OWN = 0
OTHERS = range(1, 9)
BATCH = 0.05
LOOK = 1.0
# What a change may take until index nodes know it.
SOON = 0.1


def place(number: int) -> NodeLocation:
    return NodeLocation(Address(f"10.0.0.{number}", 3173))


def image(number: int, *, content: bytes = b"layer") -> SampleImage:
    return oci_image(f"registry.example/app:v{number}", layers=(content,))


def name(number: int) -> TaggedName:
    return TaggedName.parse(f"registry.example/app:v{number}")


def now() -> float:
    return asyncio.get_running_loop().time()


class ToldNode:
    """An index node of names: a real desk, and a note of what it was told."""

    def __init__(self) -> None:
        self.is_silent = False
        self.is_outdated = False
        self.asked = 0
        self.heard: list[NameAnnouncement] = []
        self.restart()

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.desk = NameIndexState(NodeId.random(), now)

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        await asyncio.sleep(0.001)
        self.asked += 1
        if self.is_silent:
            raise PeerSilent("says nothing")
        if self.is_outdated:
            raise PeerOutdated("what is a name?")
        self.heard.append(announcement)
        return self.desk.announce(announcement)

    def means(self, number: int) -> list[Digest]:
        return [named.target.digest for named in self.desk.answer(name(number)).known]


class Ground:
    """An announcer of names among nodes; it is the roster, too."""

    def __init__(self, store: MemorySource, *, above: int) -> None:
        self.nodes = {place(number).address: ToldNode() for number in OTHERS}
        self.own_desk = NameIndexState(NodeId("own"), now)
        self._present = frozenset(self.nodes)
        self.announcer = announce_names(
            store, self, self.own_desk, own_id=NodeId("own"), own_place=partial(place, OWN), above=above
        )

    def addresses(self) -> frozenset[Address]:
        return self._present

    def get(self, address: Address) -> Member | None:
        return cast("Any", self.nodes[address]) if address in self._present else None

    def lose(self, *addresses: Address) -> None:
        self._present -= set(addresses)

    def find(self, *addresses: Address) -> None:
        self._present |= set(addresses)

    def index_nodes(self, number: int) -> set[Address]:
        """Of a name, without this node."""
        ring = RendezvousHash(self._present | {place(OWN).address})
        return set(ring.index_nodes(name_point(name(number)))) - {place(OWN).address}

    def told(self) -> set[Address]:
        return {address for address, node in self.nodes.items() if node.heard}

    def clear(self) -> None:
        for node in self.nodes.values():
            node.heard.clear()
            node.asked = 0

    def assert_all_know(self, *images: SampleImage) -> None:
        """Each name means its image at those of its index nodes that are there, and nothing anywhere else."""
        ring = RendezvousHash(self._present | {place(OWN).address})
        for each in images:
            wanted = set(ring.index_nodes(name_point(each.name)))
            for address, node in self.nodes.items():
                known = [named.target for named in node.desk.answer(each.name).known]
                assert known == [each.target] * (address in wanted)


@asynccontextmanager
async def telling(*images: SampleImage, above: int = 3) -> AsyncIterator[tuple[Ground, MemorySource]]:
    store = MemorySource(*images)
    ground = Ground(store, above=above)
    async with open_scope() as scope:
        scope.serve(ground.announcer.run, name="announce names")
        yield ground, store


async def test_index_nodes_learn_the_names_that_are_known_and_nobody_else_does() -> None:
    async with telling(image(1), image(2)) as (ground, _):
        await asyncio.sleep(LOOK + 0.1)
        assert ground.told() == ground.index_nodes(1) | ground.index_nodes(2)
        ground.assert_all_know(image(1), image(2))


async def test_where_everyone_is_asked_nobody_is_told() -> None:
    async with telling(image(1), above=len(OTHERS)) as (ground, _):
        await asyncio.sleep(10)
        assert not ground.told()


async def test_a_new_name_is_told_at_once() -> None:
    async with telling() as (ground, store):
        await asyncio.sleep(2.5)
        store.add_image(image(1))
        await asyncio.sleep(SOON)
        ground.assert_all_know(image(1))


async def test_a_tag_that_moves_means_the_new_and_not_the_old() -> None:
    old, new = image(1, content=b"old"), image(1, content=b"new")
    async with telling(old) as (ground, store):
        await asyncio.sleep(2)
        ground.clear()
        store.add_image(new)
        await asyncio.sleep(SOON)
        ground.assert_all_know(new)
        assert ground.told() == ground.index_nodes(1)


async def test_a_name_that_goes_is_withdrawn_at_once_and_others_are_not_told_again() -> None:
    async with telling(image(1), image(2)) as (ground, store):
        await asyncio.sleep(2)
        ground.clear()
        store.forget(name(1))
        await asyncio.sleep(SOON)
        assert not any(node.means(1) for node in ground.nodes.values())
        assert not any(told.held for node in ground.nodes.values() for told in node.heard)
        ground.assert_all_know(image(2))


async def test_what_does_not_change_is_told_again_before_it_is_forgotten() -> None:
    async with telling(image(1)) as (ground, _):
        await asyncio.sleep(2)
        ground.clear()
        await asyncio.sleep(NAME_SECONDS * 0.39)
        assert not ground.told()
        await asyncio.sleep(NAME_SECONDS * 0.12)
        assert ground.told() == ground.index_nodes(1)
        await asyncio.sleep(NAME_SECONDS * 0.7)
        ground.assert_all_know(image(1))


async def test_others_take_the_place_of_an_index_node_that_goes() -> None:
    async with telling(image(1)) as (ground, _):
        await asyncio.sleep(2)
        gone = min(ground.index_nodes(1), key=str)
        ground.lose(gone)
        await asyncio.sleep(LOOK + 0.1)
        assert all(ground.nodes[address].means(1) for address in ground.index_nodes(1))


async def test_another_process_in_the_place_of_an_index_node_is_told_again() -> None:
    async with telling(*map(image, range(20))) as (ground, store):
        await asyncio.sleep(2)
        restarted = ground.nodes[min(ground.index_nodes(1), key=str)]
        restarted.restart()
        store.forget(name(1))  # which is how this node finds out
        await asyncio.sleep(2 * LOOK + 0.1)
        ground.assert_all_know(*(image(number) for number in range(20) if number != 1))


async def test_one_that_does_not_answer_is_told_at_the_next_look() -> None:
    async with telling(image(1)) as (ground, _):
        silent = ground.nodes[min(ground.index_nodes(1), key=str)]
        silent.is_silent = True
        await asyncio.sleep(3.5)
        assert not silent.heard
        silent.is_silent = False
        await asyncio.sleep(LOOK + 0.1)
        ground.assert_all_know(image(1))


async def test_an_older_version_is_not_asked_again_all_the_time() -> None:
    async with telling(image(1)) as (ground, _):
        outdated = ground.nodes[min(ground.index_nodes(1), key=str)]
        outdated.is_outdated = True
        await asyncio.sleep(60)
        assert outdated.asked == 1
        outdated.is_outdated = False
        await asyncio.sleep(NAME_SECONDS / 2)
        ground.assert_all_know(image(1))


async def test_many_names_are_told_in_several_messages() -> None:
    count = 10 * MAX_NAMINGS
    images = [image(number) for number in range(count)]
    async with telling(*images) as (ground, store):
        await asyncio.sleep(2)
        told = [len(told.held) for node in ground.nodes.values() for told in node.heard]
        assert max(told) == MAX_NAMINGS
        assert sum(told) + len(ground.own_desk) == INDEX_NODES * count
        assert len(ground.own_desk) > MAX_NAMINGS
        for each in images:
            store.forget(each.name)
        await asyncio.sleep(SOON)
        assert [len(desk) for desk in (ground.own_desk, *(node.desk for node in ground.nodes.values()))] == [0] * 9


async def test_an_index_node_that_is_replaced_between_two_messages_is_told_all_of_it() -> None:
    images = [image(number) for number in range(10 * MAX_NAMINGS)]
    async with telling(*images) as (ground, _):
        node = ground.nodes[place(1).address]
        take, parts = node.announce_names, 0

        async def take_and_restart_once(announcement: NameAnnouncement) -> Receipt:
            nonlocal parts
            parts += 1
            if parts == 2:
                node.restart()
            return await take(announcement)

        node.announce_names = take_and_restart_once  # type: ignore[method-assign]
        await asyncio.sleep(3 * LOOK)
        assert parts > 2
        ground.assert_all_know(*images)


async def test_a_cluster_that_grows_learns_what_changed_while_it_was_small() -> None:
    few = [place(number).address for number in OTHERS][:5]
    async with telling(image(1)) as (ground, store):
        await asyncio.sleep(2)
        ground.lose(*few)
        await asyncio.sleep(2)
        store.add_image(image(2))
        await asyncio.sleep(2)
        ground.find(*few)
        await asyncio.sleep(2 * LOOK)
        ring = RendezvousHash({*ground.nodes, place(OWN).address})
        for number in (1, 2):
            for address in set(ring.index_nodes(name_point(name(number)))) - {place(OWN).address}:
                assert ground.nodes[address].means(number)


async def test_who_withdraws_is_forgotten() -> None:
    async with telling(image(1), image(2)) as (ground, store):
        await asyncio.sleep(2)
        await ground.announcer.withdraw()
        assert not any(len(node.desk) for node in ground.nodes.values())
        ground.clear()
        store.add_image(image(3))
        await asyncio.sleep(10)
        assert not ground.told()
