"""Whether this node's own link is full, and what that saves: in virtual time, with links that are made up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from registryd.cluster.health.comparing import LinkComparison
from registryd.cluster.health.own_link import OwnLink, Pace
from registryd.cluster.health.samples import slow_links
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.transfer.monitoring.thresholds import FULL_SECONDS, PART_BYTES, SAMPLE_BYTES, SAMPLE_SECONDS
from tests.cluster.health.linked import DIGEST, MIB, SIZE, Linked, member
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought

T = TypeVar("T")

pytestmark = pytest.mark.looptime

SAMPLE_READS = SAMPLE_BYTES // PART_BYTES


def arriving(rate: float) -> Callable[[], int]:
    """All that has come, of which so many MiB come each second."""
    return lambda: int(asyncio.get_running_loop().time() * rate * MIB)


async def tried(own: OwnLink, *nodes: Linked) -> None:
    for number, node in enumerate(nodes, 2):
        await own.try_other(member(number, node), sought(DIGEST), enough=100.0 * MIB)


async def test_a_link_is_full_if_more_came_from_nobody() -> None:
    own = OwnLink(arriving(10))
    assert not own.is_full(10 * MIB)
    await tried(own, Linked(2), Linked(3))
    assert own.is_full(10 * MIB)
    assert not own.is_full(8 * MIB)  # two thirds of 13 are more


async def test_one_quick_node_says_that_it_is_not_full() -> None:
    own = OwnLink(arriving(10))
    await tried(own, Linked(2), Linked(9), Linked(2))
    assert not own.is_full(10 * MIB)


async def test_one_slow_node_twice_proves_nothing() -> None:
    own, slow = OwnLink(arriving(10)), Linked(1)
    await tried(own, slow)
    await tried(own, slow)
    assert not own.is_full(10 * MIB)


async def test_unless_there_is_no_other() -> None:
    own = OwnLink(arriving(10))
    own.tried_all()
    assert not own.is_full(10 * MIB)  # nobody gave anything
    await tried(own, Linked(1))
    assert own.is_full(10 * MIB)


async def test_a_node_that_gives_nothing_proves_nothing() -> None:
    own = OwnLink(arriving(10))
    await tried(own, Linked(1), Linked(None))
    assert not own.is_full(10 * MIB)


async def test_the_suspected_source_proves_nothing() -> None:
    own = OwnLink(arriving(10))
    for number in (1, 2):
        await own.sample(member(number, Linked(1)), sought(DIGEST), enough=100.0 * MIB)
    assert not own.is_full(10 * MIB)


async def test_it_is_believed_for_a_while() -> None:
    own = OwnLink(arriving(10))
    await tried(own, Linked(2), Linked(2))
    await asyncio.sleep(FULL_SECONDS - 0.5)
    assert own.is_full(10 * MIB)
    await asyncio.sleep(0.5)
    assert not own.is_full(10 * MIB)


async def test_samples_count_as_what_comes() -> None:
    own = OwnLink(arriving(1))
    pace = Pace(own)
    await asyncio.sleep(1)
    assert pace.since_last() == pytest.approx(MIB)
    await own.sample(member(1, Linked(0.5)), sought(DIGEST), enough=0.1)  # for a second
    assert pace.since_last() == pytest.approx(1.5 * MIB)
    assert pace.since_last() == 0  # no time has passed


async def test_a_sample_ends_however_little_would_be_enough() -> None:
    """A hostile source says how much it passes on, and gives a byte now and then."""
    own = OwnLink()
    begun = asyncio.get_running_loop().time()
    await own.sample(member(1, Linked(0.0001)), sought(DIGEST), enough=800.0, has_answered=True)
    assert asyncio.get_running_loop().time() - begun <= SAMPLE_SECONDS


# ------------------------------ what it saves


def compared(own: OwnLink, source: Linked, *others: Linked, looks: Sequence[int] = (1, 2, 4, 8)) -> LinkComparison:
    offer = Offer(member(1, source), sought(DIGEST), GrowingContent(DIGEST, SIZE, None, 1), door=None, busy=False)
    members = [offer.member, *(member(number, node) for number, node in enumerate(others, 2))]

    async def holders(_: Sought) -> Sequence[Member]:
        return members

    return LinkComparison(offer, holders, looks=looks, own=own, known=slow_links())


async def look(links: LinkComparison, rate: float) -> bool:
    await asyncio.sleep(0.5)
    links.look()
    return await links.is_slow(rate * MIB)


async def test_what_one_layer_finds_out_counts_for_the_others_whatever_their_sources() -> None:
    own, others = OwnLink(arriving(10)), [Linked(2), Linked(2), Linked(2)]
    assert not await look(compared(own, Linked(2), *others), 10)
    for _ in range(3):
        assert not await look(compared(own, Linked(2), *others), 10)
    assert [other.reads for other in others] == [SAMPLE_READS, SAMPLE_READS, 0]


async def test_a_look_that_was_left_out_is_made_up_for() -> None:
    own, others = OwnLink(arriving(10)), [Linked(2), Linked(2)]
    await tried(own, *others)
    links = compared(own, Linked(2), *others, looks=(1,))
    before = [other.reads for other in others]
    for _ in range(3):
        assert not await look(links, 10)
    assert [other.reads for other in others] == before
    await asyncio.sleep(FULL_SECONDS)
    for _ in range(3):
        assert not await look(links, 10)
    assert [other.reads for other in others] == [count + SAMPLE_READS for count in before]


async def test_a_slow_source_is_found_as_soon_as_less_comes() -> None:
    rate = 10.0
    came = 0.0

    def arrived() -> int:
        return int(came)

    own, quick = OwnLink(arrived), Linked(9)
    links = compared(own, Linked(0.7), quick)

    async def advance(seconds: float) -> None:
        nonlocal came
        await asyncio.sleep(seconds)
        came += rate * seconds * MIB

    async def meanwhile(doing: Awaitable[T]) -> T:
        done = asyncio.ensure_future(doing)
        while not done.done():
            await advance(0.01)
        return done.result()

    for number in (2, 3):  # the link is full
        await meanwhile(own.try_other(member(number, Linked(2)), sought(DIGEST), enough=100.0 * MIB))
    await advance(0.5)
    links.look()
    assert not await links.is_slow(rate * MIB)
    assert quick.reads == 0
    rate = 1.0
    await advance(0.5)
    links.look()
    assert await meanwhile(links.is_slow(rate * MIB))
