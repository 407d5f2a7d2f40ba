"""What index nodes are told of this node's content, and when: in virtual time, with real desks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.scope import open_scope
from registryd.cluster.contract.index import MAX_ANNOUNCED, Announcement, Claim, NodeLocation, Receipt
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerSilent
from registryd.cluster.index.desk import WAVE_SECONDS, IndexState
from registryd.cluster.index.ring import INDEX_NODES, RendezvousHash
from registryd.cluster.index.view import CurrentView, View
from registryd.cluster.index_client.announcing import Announcer
from registryd.content.inventory import Stock
from registryd.content.source import StoreUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from registryd.cluster.members.member import Member

pytestmark = pytest.mark.looptime

OWN = 0
OTHERS = range(1, 9)
SMALL = len(OTHERS)  # so many that all of them can be asked
BATCH = 0.05
LOOK = 1.0


def place(number: int) -> NodeLocation:
    return NodeLocation(Address(f"10.0.0.{number}", 3173))


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


def now() -> float:
    return asyncio.get_running_loop().time()


class Shelf:
    """An inventory: what a test puts there."""

    def __init__(self, *numbers: int, is_complete: bool = True) -> None:
        self.is_complete = is_complete
        self.is_away = False
        self._held = {digest(number) for number in numbers}
        self._arriving: set[Digest] = set()
        self._changed = asyncio.Event()

    def put(self, *numbers: int) -> None:
        self._held |= {digest(number) for number in numbers}
        self._changed.set()

    def take(self, *numbers: int) -> None:
        self._held -= {digest(number) for number in numbers}
        self._changed.set()

    def begin(self, *numbers: int) -> None:
        self._arriving |= {digest(number) for number in numbers}
        self._changed.set()

    def end(self, *numbers: int) -> None:
        self._arriving -= {digest(number) for number in numbers}
        self._changed.set()

    async def stock(self) -> Stock:
        if self.is_away:
            raise StoreUnavailable("away")
        return Stock(frozenset(self._held), frozenset(self._arriving), self.is_complete)

    async def wait_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


class ToldNode:
    """An index node: a real desk, and a note of what it was told and when."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_silent = False
        self.takes = 0.001
        self.restarts_after = 0
        """Which announcement is the first that another process hears."""
        self.heard: list[tuple[float, Announcement]] = []
        self.restart()

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.id = NodeId.random()
        self.desk = IndexState(self.id, now, view=lambda: View.of(frozenset({place(self.number).address})))

    async def announce(self, announcement: Announcement) -> Receipt:
        await asyncio.sleep(self.takes)
        if self.is_silent:
            raise PeerSilent("says nothing")
        self.heard.append((now(), announcement))
        if self.restarts_after:
            self.restarts_after -= 1
            if not self.restarts_after:
                self.restart()
        return self.desk.announce(announcement)

    def rules_out(self, number: int) -> bool:
        """Whether it would say that nobody has the digest, for all it knows."""
        return bool(self.desk.claim(Claim(digest(number), place(99), is_question=True)).view)

    def knows(self) -> set[Digest]:
        """For which of the first hundred digests it would name the node under test."""
        claims = [Claim(digest(number), place(99), is_question=True) for number in range(100)]
        return {claim.digest for claim in claims if place(OWN).address in self.desk.claim(claim).sources}


class Ground:
    """An announcer among nodes; it is the roster, too."""

    def __init__(self, shelf: Shelf, *, most: int) -> None:
        self.nodes = {place(number).address: ToldNode(number) for number in OTHERS}
        self.own = OWN
        self.gives_stripes = True
        self.own_desk = IndexState(NodeId("own"), now)
        self.view = CurrentView(self, self._own_place, most=most)
        self.announcer = Announcer(
            shelf,
            self,
            self.own_desk,
            own_id=NodeId("own"),
            own_place=self._own_place,
            view=self.view,
            gives_stripes=lambda: self.gives_stripes,
        )
        self._present = self._discovered = frozenset(self.nodes)

    def _own_place(self) -> NodeLocation:
        return place(self.own)

    def addresses(self) -> frozenset[Address]:
        return self._present

    def discovered(self) -> frozenset[Address]:
        return self._discovered

    def get(self, address: Address) -> Member | None:
        return cast("Any", self.nodes[address]) if address in self._present else None

    def lose(self, address: Address) -> None:
        self._present -= {address}

    def find_again(self, address: Address) -> None:
        self._present |= {address}

    def forget(self, address: Address) -> None:
        """Discovery does not give it any more."""
        self._discovered -= {address}
        self._present -= {address}

    def rulers_out(self, number: int) -> set[Address]:
        """Of the digest's index nodes, those that would say that nobody has it."""
        return {address for address in self.index_nodes(number) if self.nodes[address].rules_out(number)}

    def believers(self) -> set[Address]:
        """Who takes what it has been told by the node under test for everything, in its view."""
        view = self.view()
        assert view
        own = place(self.own).address
        return {address for address, node in self.nodes.items() if own not in node.desk.books.unheard(view, now())}

    def index_nodes(self, *numbers: int) -> set[Address]:
        ring = RendezvousHash(self._present | {place(OWN).address})
        return {address for number in numbers for address in ring.index_nodes(digest(number))} - {place(OWN).address}

    def told(self) -> set[Address]:
        return {address for address, node in self.nodes.items() if node.heard}

    def has_heard_of(self, address: Address, number: int) -> bool:
        return any(digest(number) in told.held for _, told in self.nodes[address].heard)

    def clear(self) -> None:
        for node in self.nodes.values():
            node.heard.clear()

    def assert_all_know(self, numbers: Iterable[int]) -> None:
        """Each digest is known at those of its index nodes that are there, and nowhere else."""
        ring = RendezvousHash(self._present | {place(OWN).address})
        desks = {address: node.knows() for address, node in self.nodes.items()}
        for number in numbers:
            wanted = set(ring.index_nodes(digest(number))) & desks.keys()
            assert {address for address, known in desks.items() if digest(number) in known} == wanted


@asynccontextmanager
async def announcing(shelf: Shelf, *, most: int = 3) -> AsyncIterator[Ground]:
    ground = Ground(shelf, most=most)
    async with open_scope() as scope:
        scope.serve(ground.announcer.run, name="announce")
        yield ground


async def test_index_nodes_learn_what_is_there_and_nobody_else_does() -> None:
    async with announcing(Shelf(1, 2)) as ground:
        await asyncio.sleep(LOOK + 0.1)
        assert ground.told() == ground.index_nodes(1, 2)
        ground.assert_all_know([1, 2])


async def test_each_announcement_says_whether_the_node_gives_stripes_now() -> None:
    shelf = Shelf(1)
    async with announcing(shelf) as ground:
        await asyncio.sleep(LOOK + 0.1)
        ground.gives_stripes = False
        shelf.put(2)
        await asyncio.sleep(LOOK + 0.1)
        said = {told.gives_stripes: set(told.held) for node in ground.nodes.values() for _, told in node.heard}
        assert said == {True: {digest(1)}, False: {digest(2)}}


async def test_who_is_alone_tells_nobody_and_then_what_came_meanwhile() -> None:
    shelf = Shelf(1)
    async with announcing(shelf, most=SMALL) as ground:
        others = ground.addresses()
        for address in others:
            ground.lose(address)
        await asyncio.sleep(5)
        assert not ground.told()
        shelf.put(2)
        await asyncio.sleep(5)
        for address in others:
            ground.find_again(address)
        await asyncio.sleep(LOOK + 0.1)
        ground.assert_all_know([1, 2])


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


async def test_one_that_takes_long_to_answer_keeps_nobody_else_waiting() -> None:
    """Each of its answers may take nearly as long as a question may."""
    shelf = Shelf(*range(3 * MAX_ANNOUNCED))
    new = range(9000, 9010)
    async with announcing(shelf) as ground:
        slow = min(ground.index_nodes(*new), key=str)
        ground.nodes[slow].takes = 0.9
        await asyncio.sleep(LOOK + 0.5)
        for number in new:
            shelf.put(number)
            await asyncio.sleep(BATCH + 0.02)
            for address in ground.index_nodes(number) - {slow}:
                assert ground.has_heard_of(address, number)
        await asyncio.sleep(10)
        for number in new:
            assert ground.has_heard_of(slow, number) == (slow in ground.index_nodes(number))


async def test_another_process_at_an_index_node_is_told_all_of_it_again() -> None:
    async with announcing(Shelf(*range(20))) as ground:
        await asyncio.sleep(2)
        gone, *others = ground.nodes
        for address in others:
            ground.nodes[address].restart()
        ground.clear()
        ground.lose(gone)  # what was there is told others, who turn out to be new
        await asyncio.sleep(2 * LOOK + 0.2)
        ring = RendezvousHash(ground.addresses() | {place(OWN).address})
        assert len(ground.told()) > 1
        for address in ground.told():
            wanted = {digest(number) for number in range(20) if address in ring.index_nodes(digest(number))}
            assert ground.nodes[address].knows() == wanted


async def test_others_take_the_place_of_an_index_node_that_goes() -> None:
    async with announcing(Shelf(1, 2, 3)) as ground:
        await asyncio.sleep(2)
        ground.lose(min(ground.index_nodes(1), key=str))
        await asyncio.sleep(LOOK + 0.1)
        ring = RendezvousHash(ground.addresses() | {place(OWN).address})
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
            place(OWN).address in RendezvousHash({*ground.nodes, place(OWN).address}).index_nodes(digest(n))
            for n in range(count)
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


async def test_who_withdraws_in_the_middle_of_telling_does_not_tell_the_rest() -> None:
    async with announcing(Shelf(*range(6 * MAX_ANNOUNCED))) as ground:
        slow = ground.nodes[min(ground.index_nodes(1), key=str)]
        slow.takes = 0.5
        await asyncio.sleep(LOOK + 0.2)
        await ground.announcer.withdraw()
        await asyncio.sleep(10)
        assert [bool(told.held) for _, told in slow.heard] == [True, False]


async def test_withdrawing_does_not_wait_long_for_those_that_are_silent() -> None:
    async with announcing(Shelf(1)) as ground:
        await asyncio.sleep(2)
        for node in ground.nodes.values():
            node.announce = partial(asyncio.sleep, 60)  # type: ignore[method-assign,assignment]
        begun = now()
        await ground.announcer.withdraw()
        assert now() - begun == pytest.approx(2.0)


async def test_where_everyone_can_be_asked_all_are_told_when_they_know_everything() -> None:
    async with announcing(Shelf(1), most=SMALL) as ground:
        await asyncio.sleep(LOOK + 0.1)
        assert ground.believers() == ground.addresses()
        ground.assert_all_know([1])
        ground.clear()
        await asyncio.sleep(60)
        assert not ground.told()


async def test_where_not_everyone_is_asked_nobody_is_told_so() -> None:
    async with announcing(Shelf(1)) as ground:
        await asyncio.sleep(10)
        assert not any(told.view or told.complete_at for node in ground.nodes.values() for _, told in node.heard)


async def test_a_store_that_cannot_promise_does_not() -> None:
    shelf = Shelf(1, is_complete=False)
    async with announcing(shelf, most=SMALL) as ground:
        await asyncio.sleep(10)
        ground.assert_all_know([1])
        assert not ground.believers()
        shelf.is_complete = True
        shelf.put(2)
        await asyncio.sleep(BATCH + 0.1)
        assert ground.believers() == ground.addresses()


async def test_a_promise_is_taken_back_when_it_cannot_be_kept() -> None:
    shelf = Shelf(1)
    async with announcing(shelf, most=SMALL) as ground:
        await asyncio.sleep(2)
        shelf.is_complete = False
        shelf.put(2)
        await asyncio.sleep(BATCH + 0.1)
        assert not ground.believers()


async def test_much_makes_it_complete_with_the_last_message_only() -> None:
    count = 4 * MAX_ANNOUNCED
    async with announcing(Shelf(*range(count)), most=SMALL) as ground:
        await asyncio.sleep(LOOK + 0.1)
        assert ground.believers() == ground.addresses()
        for node in ground.nodes.values():
            *before, last = (told.complete_at for _, told in node.heard)
            assert len(before) >= 1
            assert set(before) == {None}
            assert last == node.id


async def test_a_process_that_begins_between_two_messages_is_not_told_that_it_knows_everything() -> None:
    async with announcing(Shelf(*range(4 * MAX_ANNOUNCED)), most=SMALL) as ground:
        for node in ground.nodes.values():
            node.restarts_after = 2
        await asyncio.sleep(LOOK + 0.1)
        own, view = place(OWN).address, ground.view()
        ring = RendezvousHash({*ground.nodes, own})
        for address, node in ground.nodes.items():
            wanted = {digest(number) for number in range(100) if address in ring.index_nodes(digest(number))}
            assert view
            is_believed = own not in node.desk.books.unheard(view, now())
            assert node.knows() == wanted or not is_believed
        await asyncio.sleep(2 * LOOK)
        assert ground.believers() == ground.addresses()


async def test_another_view_is_told_to_everyone_in_it() -> None:
    async with announcing(Shelf(1, 2, 3), most=SMALL) as ground:
        await asyncio.sleep(2)
        gone = min(ground.addresses(), key=str)
        ground.forget(gone)
        assert not ground.believers()
        await asyncio.sleep(LOOK + 0.1)
        assert ground.believers() == ground.addresses()


async def test_one_that_is_set_aside_changes_no_view() -> None:
    async with announcing(Shelf(1, 2, 3), most=SMALL) as ground:
        await asyncio.sleep(2)
        aside = min(ground.addresses(), key=str)
        ground.clear()
        ground.lose(aside)
        await asyncio.sleep(LOOK + 0.1)
        assert ground.believers() == {*ground.addresses(), aside}
        ground.clear()
        ground.find_again(aside)
        await asyncio.sleep(LOOK + 0.1)
        assert aside in ground.told()  # it may have missed something meanwhile
        assert ground.believers() == ground.addresses()


async def test_an_index_node_that_speaks_as_another_process_is_told_everything_again() -> None:
    async with announcing(Shelf(*range(20)), most=SMALL) as ground:
        await asyncio.sleep(2)
        address, node = next(iter(ground.nodes.items()))
        node.restart()
        assert address not in ground.believers()
        ground.own_desk.announce(Announcement(place(node.number), process=node.id))
        await asyncio.sleep(LOOK + 0.1)
        assert address in ground.believers()
        ring = RendezvousHash({*ground.nodes, place(OWN).address})
        assert node.knows() == {digest(number) for number in range(20) if address in ring.index_nodes(digest(number))}


async def test_what_arrives_is_told_and_then_that_it_is_whole_or_gone() -> None:
    shelf = Shelf()
    async with announcing(shelf, most=SMALL) as ground:
        await asyncio.sleep(2)
        assert ground.rulers_out(1) == ground.index_nodes(1)
        shelf.begin(1, 2)
        await asyncio.sleep(BATCH + 0.01)
        assert not ground.rulers_out(1) | ground.rulers_out(2)
        ground.clear()
        shelf.end(1, 2)
        shelf.put(1)
        await asyncio.sleep(BATCH + 0.01)
        ground.assert_all_know([1])
        assert ground.rulers_out(2) == ground.index_nodes(2)
        assert {held for node in ground.nodes.values() for _, told in node.heard for held in told.held} == {digest(1)}


async def test_what_is_arriving_when_the_view_changes_is_told_to_its_new_index_nodes() -> None:
    shelf = Shelf()
    async with announcing(shelf, most=SMALL) as ground:
        shelf.begin(1)
        await asyncio.sleep(2)
        ground.forget(min(ground.index_nodes(1), key=str))
        assert ground.rulers_out(1)
        await asyncio.sleep(LOOK + 0.1)
        assert not ground.rulers_out(1)


async def test_where_not_everyone_is_asked_what_arrives_is_not_told() -> None:
    shelf = Shelf()
    async with announcing(shelf) as ground:
        shelf.begin(1)
        await asyncio.sleep(2)
        assert not ground.told()


async def test_a_node_that_turns_out_to_be_called_otherwise_is_known_by_its_new_name() -> None:
    async with announcing(Shelf(*range(20)), most=SMALL) as ground:
        ground.own = 50
        await asyncio.sleep(2)
        ground.own = OWN
        await asyncio.sleep(LOOK + 0.1)
        assert ground.believers() == ground.addresses()
        ground.assert_all_know(range(20))


async def test_a_store_that_is_away_is_asked_again() -> None:
    shelf = Shelf(1)
    shelf.is_away = True
    async with announcing(shelf, most=SMALL) as ground:
        await asyncio.sleep(5)
        assert not ground.told()
        shelf.is_away = False
        await asyncio.sleep(LOOK + 0.1)
        ground.assert_all_know([1])
        assert ground.believers() == ground.addresses()


async def test_who_withdraws_promises_nothing_any_more() -> None:
    async with announcing(Shelf(1), most=SMALL) as ground:
        await asyncio.sleep(2)
        assert ground.believers()
        await ground.announcer.withdraw()
        assert not ground.believers()
