"""Who is slow: told by those that get the same content from the same source. In virtual time, with scripted nodes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerUnreachable
from registryd.cluster.health.lagging import SiblingComparison
from registryd.cluster.health.totals import Totals
from registryd.cluster.members.member import Member
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.content.source import Content
from registryd.notation import Address
from registryd.oci.digest import Digest
from tests.fakes.entitled import said, sought

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from registryd.content.sought import Sought
    from registryd.oci.ranges import Span

pytestmark = pytest.mark.looptime

MIB = 1 << 20
SIZE = 100 * MIB
DIGEST = Digest.of(b"")
COMPANION = Digest.of(b"another layer of the same image")
SOURCE = Address("10.0.0.1", 3173)


@dataclass
class Growing:
    """A node that gets so many MiB a second, after those that it has; `is_gone`: nobody can ask it.

    Of the other layer that comes at the same time it gets as much, unless `beside` says otherwise. `gives`: so many MiB
    a second to whoever asks; None: it does not let others read.
    """

    rate: float
    begun_with: float = 0.0
    beside: float | None = None
    is_gone: bool = False
    gives: float | None = None
    finds: int = 0
    told: int = 0

    async def tell_slow(self, wanted: Sought) -> None:
        self.told += 1
        if self.is_gone:
            raise PeerUnreachable("gone")

    async def read(self, wanted: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        assert wanted == sought(DIGEST)
        if self.gives is None:
            raise PeerDeclined("not for others")
        await asyncio.sleep(span.length / self.gives / MIB)
        yield bytes(span.length)

    async def find(self, wanted: Sought, wait: object = None) -> FindAnswer:
        digest = wanted.digest
        self.finds += 1
        assert wait is None
        if self.is_gone:
            raise PeerUnreachable("gone")
        rate = self.rate if digest == DIGEST or self.beside is None else self.beside
        have = min(SIZE, int((self.begun_with + rate * now()) * MIB))
        content = Content(digest, SIZE, None) if have == SIZE else GrowingContent(digest, SIZE, None, have)
        return FindAnswer(Node(NodeId("n"), 0), said(content), busy=False)


@dataclass
class Room:
    """As a RoomComparison, of the scene's source."""

    scene: Scene

    async def is_limit(self, arrived: int, own_rate: float, beside: Sequence[Member]) -> bool:
        assert arrived > 0
        assert own_rate > 0
        assert len(beside) == len(self.scene.beside)
        return not self.scene.has_room


@dataclass
class Scene:
    """A source, and those beside it, whom the index node names."""

    source: Growing
    beside: list[Growing]
    is_top_slow: bool = False
    receiving: Sequence[Digest] = (DIGEST,)
    asked: list[tuple[Digest, Address]] = field(default_factory=list)
    left: int = 0
    has_room: bool = True

    def lag(self) -> SiblingComparison:
        content = GrowingContent(DIGEST, SIZE, None, 1)
        source = Offer(_member(SOURCE, self.source), sought(DIGEST), content, door=None, busy=False)
        top, room = cast("Any", self), cast("Any", Room(self))
        return SiblingComparison(source, self._name, leave=self._leave, top=top, room=room, totals=self._totals())

    def _totals(self) -> Totals:
        return Totals(lambda: [sought(digest) for digest in self.receiving])

    async def is_limit(self, arrived: int) -> bool:
        """As an UplinkProbe does."""
        assert arrived > 0
        return self.is_top_slow

    def _leave(self) -> None:
        self.left += 1

    async def _name(self, wanted: Sought, address: Address) -> Sequence[Member]:
        self.asked.append((wanted.digest, address))
        return [_member(Address("10.0.0.2", 1 + number), node) for number, node in enumerate(self.beside)]


def _member(address: Address, node: Growing) -> Member:
    return Member(address, cast("Any", node), own_id=NodeId("own"), on_change=lambda _member: None)


def now() -> float:
    return asyncio.get_running_loop().time()


async def judgements(scene: Scene, rate: float, *, seconds: int = 8, behind: float = 0.1) -> list[bool]:
    """What is found in each second of one who gets so many MiB a second and is so many MiB behind the source."""
    lag, found = scene.lag(), []
    for _ in range(seconds):
        await asyncio.sleep(1)
        found.append(await lag.is_slow(int((rate * now() - behind) * MIB), rate * MIB))
    return found


async def test_a_source_whose_neighbour_gets_far_ahead_is_slow() -> None:
    scene = Scene(Growing(1), [Growing(8), Growing(8)])
    found = await judgements(scene, rate=1)
    assert found[:2] == [False, True]  # one look to see how far they are, one to see how quick
    assert scene.asked[0] == (DIGEST, SOURCE)
    assert scene.left == scene.source.told == sum(found)
    assert [other.told for other in scene.beside] == [0, 0]


async def test_one_quick_neighbour_is_enough_where_the_other_is_slow_or_gone() -> None:
    for other in (Growing(1), Growing(8, is_gone=True)):
        assert any(await judgements(Scene(Growing(1), [other, Growing(8)]), rate=1))


@pytest.mark.parametrize(("gives", "is_slow"), [(0.5, False), (4.0, True)])
async def test_one_that_gets_ahead_is_only_worth_leaving_for_if_it_gives_more(gives: float, *, is_slow: bool) -> None:
    """Else it may be the source's own, which receives well and sends badly: the source cannot help it."""
    assert any(await judgements(Scene(Growing(1), [Growing(8, gives=gives)]), rate=1)) is is_slow


async def test_where_nobody_is_ahead_links_tell() -> None:
    scene = Scene(Growing(1), [Growing(1)], has_room=False)
    assert await judgements(scene, rate=1, seconds=1) == [True]
    assert scene.left == scene.source.told == 1


async def test_where_the_origin_is_slow_nobody_is() -> None:
    assert not any(await judgements(Scene(Growing(1), [Growing(1, begun_with=0.5), Growing(1)]), rate=1))


@pytest.mark.parametrize("is_slow", [False, True])
async def test_of_one_that_goes_to_the_origin_its_link_tells_and_it_counts_as_failed(*, is_slow: bool) -> None:
    scene = Scene(Growing(0.5), [], is_top_slow=is_slow)
    assert set(await judgements(scene, rate=0.5)) == {is_slow}
    assert (scene.source.finds, scene.left) == (0, 0)
    assert bool(scene.source.told) is is_slow


async def test_a_source_that_cannot_be_told_is_left_all_the_same() -> None:
    assert any(await judgements(Scene(Growing(0.5, is_gone=True), [], is_top_slow=True), rate=0.5))


async def test_a_link_that_is_shared_by_two_or_unevenly_is_no_reason() -> None:
    assert not any(await judgements(Scene(Growing(4), [Growing(8)]), rate=4))


async def test_a_layer_with_a_small_share_of_a_full_link_is_no_reason() -> None:
    """TCP may share a link so for half a minute; who is beside the source is through with the other layer."""
    scene = Scene(Growing(0.5, beside=8.5), [Growing(9, beside=0)], receiving=(DIGEST, COMPANION))
    assert not any(await judgements(scene, rate=0.5))
    scene = Scene(Growing(0.5, beside=8.5), [Growing(30, beside=0)], receiving=(DIGEST, COMPANION))
    assert not any(await judgements(scene, rate=0.5))


@pytest.mark.parametrize("beside", [1.0, 0.2])
async def test_a_source_that_gets_little_of_all_layers_is_slow(beside: float) -> None:
    scene = Scene(Growing(0.5, beside=beside), [Growing(3, beside=3)], receiving=(DIGEST, COMPANION))
    assert (await judgements(scene, rate=0.5))[:4] == [False, True, True, True]


async def test_who_came_before_is_ahead_and_not_quicker() -> None:
    assert not any(await judgements(Scene(Growing(8), [Growing(8, begun_with=30)]), rate=8))


async def test_when_this_nodes_own_link_is_slow_the_source_is_not_blamed() -> None:
    assert not any(await judgements(Scene(Growing(8), [Growing(8)]), rate=1))


async def test_a_neighbour_that_has_become_whole_still_tells_how_quick_it_was() -> None:
    scene = Scene(Growing(1), [Growing(60)])
    found = await judgements(scene, rate=1, seconds=4)
    assert found == [False, True, True, True]


async def test_a_neighbour_that_was_whole_from_the_start_tells_nothing() -> None:
    assert not any(await judgements(Scene(Growing(1), [Growing(0, begun_with=100)]), rate=1))


async def test_who_stands_beside_it_is_asked_again_because_that_changes() -> None:
    scene = Scene(Growing(1), [Growing(1)])
    lag = scene.lag()
    for _ in range(6):
        await asyncio.sleep(1)
        assert not await lag.is_slow(int(now() * MIB), MIB)
    assert len(scene.asked) == 2
    scene.beside[:] = [Growing(8)]
    found = []
    for _ in range(6):
        await asyncio.sleep(1)
        found.append(await lag.is_slow(int(now() * MIB), MIB))
    assert found[-1]
