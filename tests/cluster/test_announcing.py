"""What index nodes are told of this node's content, and when: in virtual time, with real desks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.scope import open_scope
from registryd.cluster.announcing import Announcer
from registryd.cluster.errors import PeerSilent
from registryd.cluster.index.desk import WAVE_SECONDS, IndexDesk
from registryd.cluster.index.messages import MAX_ANNOUNCED
from registryd.cluster.index.ring import INDEX_NODES, Ring
from registryd.cluster.index.values import Announcement, Claim, Place, Receipt
from registryd.cluster.node import NodeId
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from registryd.cluster.member import Member

pytestmark = pytest.mark.looptime

OWN = 0
OTHERS = range(1, 9)
BATCH = 0.05
LOOK = 1.0


def place(number: int) -> Place:
    return Place(Address(f"10.0.0.{number}", 3173))


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


def now() -> float:
    return asyncio.get_running_loop().time()


class Shelf:
    """An inventory: what a test puts there."""

    def __init__(self, *numbers: int) -> None:
        self._held = {digest(number) for number in numbers}
        self._changed = asyncio.Event()

    def put(self, *numbers: int) -> None:
        self._held |= {digest(number) for number in numbers}
        self._changed.set()

    def take(self, *numbers: int) -> None:
        self._held -= {digest(number) for number in numbers}
        self._changed.set()

    async def digests(self) -> frozenset[Digest]:
        return frozenset(self._held)

    async def wait_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


class ToldNode:
    """An index node: a real desk, and a note of what it was told and when."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_silent = False
        self.heard: list[tuple[float, Announcement]] = []
        self.restart()

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.desk = IndexDesk(NodeId.random(), now)

    async def announce(self, announcement: Announcement) -> Receipt:
        await asyncio.sleep(0.001)
        if self.is_silent:
            raise PeerSilent("says nothing")
        self.heard.append((now(), announcement))
        return self.desk.announce(announcement)

    def knows(self) -> set[Digest]:
        """For which of the first hundred digests it would name the node under test."""
        claims = [Claim(digest(number), place(99), is_question=True) for number in range(100)]
        return {claim.digest for claim in claims if place(OWN).address in self.desk.claim(claim).sources}


class Ground:
    """An announcer among nodes; it is the roster, too."""

    def __init__(self, shelf: Shelf, *, above: int) -> None:
        self.nodes = {place(number).address: ToldNode(number) for number in OTHERS}
        self.own_desk = IndexDesk(NodeId("own"), now)
        self.announcer = Announcer(shelf, self, self.own_desk, own_place=partial(place, OWN), above=above)
        self._present = frozenset(self.nodes)

    def addresses(self) -> frozenset[Address]:
        return self._present

    def get(self, address: Address) -> Member | None:
        return cast("Any", self.nodes[address]) if address in self._present else None

    def lose(self, address: Address) -> None:
        self._present -= {address}

    def index_nodes(self, *numbers: int) -> set[Address]:
        ring = Ring(self._present | {place(OWN).address})
        return {address for number in numbers for address in ring.index_nodes(digest(number))} - {place(OWN).address}

    def told(self) -> set[Address]:
        return {address for address, node in self.nodes.items() if node.heard}

    def clear(self) -> None:
        for node in self.nodes.values():
            node.heard.clear()

    def assert_all_know(self, numbers: Iterable[int]) -> None:
        """Each digest is known at those of its index nodes that are there, and nowhere else."""
        ring = Ring(self._present | {place(OWN).address})
        desks = {address: node.knows() for address, node in self.nodes.items()}
        for number in numbers:
            wanted = set(ring.index_nodes(digest(number))) & desks.keys()
            assert {address for address, known in desks.items() if digest(number) in known} == wanted


@asynccontextmanager
async def announcing(shelf: Shelf, *, above: int = 3) -> AsyncIterator[Ground]:
    ground = Ground(shelf, above=above)
    async with open_scope() as scope:
        scope.serve(ground.announcer.run, name="announce")
        yield ground


async def test_index_nodes_learn_what_is_there_and_nobody_else_does() -> None:
    async with announcing(Shelf(1, 2)) as ground:
        await asyncio.sleep(LOOK + 0.1)
        assert ground.told() == ground.index_nodes(1, 2)
        ground.assert_all_know([1, 2])


async def test_where_everyone_is_asked_nobody_is_told() -> None:
    async with announcing(Shelf(1), above=len(OTHERS)) as ground:
        await asyncio.sleep(10)
        assert not ground.told()


async def test_what_comes_together_is_told_together() -> None:
    shelf = Shelf()
    async with announcing(shelf) as ground:
        await asyncio.sleep(2.5)
        shelf.put(1)
        await asyncio.sleep(BATCH / 2)
        shelf.put(2, 3)
        await asyncio.sleep(BATCH / 2 + 0.01)
        ground.assert_all_know([1, 2, 3])
        assert all(len(node.heard) <= 1 for node in ground.nodes.values())


async def test_only_what_is_new_is_told_and_what_is_gone() -> None:
    shelf = Shelf(1, 2)
    async with announcing(shelf) as ground:
        await asyncio.sleep(2)
        ground.clear()
        shelf.put(3)
        shelf.take(1)
        await asyncio.sleep(2)
        assert {held for node in ground.nodes.values() for _, told in node.heard for held in told.held} == {digest(3)}
        assert ground.told() == ground.index_nodes(1, 3)
        ground.assert_all_know([2, 3])
        assert not any(digest(1) in node.knows() for node in ground.nodes.values())
        ground.clear()
        await asyncio.sleep(60)
        assert not ground.told()


async def test_one_that_does_not_answer_is_told_at_the_next_look() -> None:
    async with announcing(Shelf(1)) as ground:
        silent = ground.nodes[min(ground.index_nodes(1), key=str)]
        silent.is_silent = True
        await asyncio.sleep(3.5)
        assert not silent.heard
        silent.is_silent = False
        await asyncio.sleep(LOOK + 0.1)
        ground.assert_all_know([1])


async def test_another_process_at_an_index_node_is_told_all_of_it_again() -> None:
    async with announcing(Shelf(*range(20))) as ground:
        await asyncio.sleep(2)
        gone, *others = ground.nodes
        for address in others:
            ground.nodes[address].restart()
        ground.clear()
        ground.lose(gone)  # what was there is told others, who turn out to be new
        await asyncio.sleep(2 * LOOK + 0.2)
        ring = Ring(ground.addresses() | {place(OWN).address})
        assert len(ground.told()) > 1
        for address in ground.told():
            wanted = {digest(number) for number in range(20) if address in ring.index_nodes(digest(number))}
            assert ground.nodes[address].knows() == wanted


async def test_others_take_the_place_of_an_index_node_that_goes() -> None:
    async with announcing(Shelf(1, 2, 3)) as ground:
        await asyncio.sleep(2)
        ground.lose(min(ground.index_nodes(1), key=str))
        await asyncio.sleep(LOOK + 0.1)
        ring = Ring(ground.addresses() | {place(OWN).address})
        for number in (1, 2, 3):
            for address in set(ring.index_nodes(digest(number))) & ground.addresses():
                assert digest(number) in ground.nodes[address].knows()


async def test_all_is_told_again_before_it_is_forgotten() -> None:
    async with announcing(Shelf(1)) as ground:
        await asyncio.sleep(2)
        ground.clear()
        await asyncio.sleep(WAVE_SECONDS * 0.39)
        assert not ground.told()
        await asyncio.sleep(WAVE_SECONDS * 0.12)
        assert ground.told() == ground.index_nodes(1)


async def test_much_is_told_in_several_messages() -> None:
    count = 2 * MAX_ANNOUNCED
    async with announcing(Shelf(*range(count))) as ground:
        await asyncio.sleep(3)
        told = [len(told.held) for node in ground.nodes.values() for _, told in node.heard]
        assert max(told) <= MAX_ANNOUNCED
        own = sum(
            place(OWN).address in Ring({*ground.nodes, place(OWN).address}).index_nodes(digest(n)) for n in range(count)
        )
        assert sum(told) == INDEX_NODES * count - own
        assert len(ground.own_desk) == own


async def test_who_withdraws_is_forgotten_and_tells_nothing_more() -> None:
    shelf = Shelf(1, 2)
    async with announcing(shelf) as ground:
        await asyncio.sleep(2)
        told = ground.told()
        ground.clear()
        await ground.announcer.withdraw()
        assert ground.told() == told
        assert not any(node.knows() for node in ground.nodes.values())
        ground.clear()
        shelf.put(3)
        await asyncio.sleep(10)
        assert not ground.told()


async def test_withdrawing_does_not_wait_long_for_those_that_are_silent() -> None:
    async with announcing(Shelf(1)) as ground:
        await asyncio.sleep(2)
        for node in ground.nodes.values():
            node.announce = partial(asyncio.sleep, 60)  # type: ignore[method-assign,assignment]
        begun = now()
        await ground.announcer.withdraw()
        assert now() - begun == pytest.approx(2.0)
