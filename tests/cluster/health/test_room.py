"""Whether a source has so little room on its link that it holds others up: in virtual time, with made-up links."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.health.comparing import LinkComparison
from registryd.cluster.health.own_link import OwnLink
from registryd.cluster.health.room import RoomComparison
from registryd.cluster.health.samples import slow_links
from registryd.cluster.health.totals import Totals
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.transfer.monitoring.thresholds import PART_BYTES, ROOM_LOOKS, SAMPLE_BYTES
from tests.cluster.health.linked import COMPANION, DIGEST, MIB, SIZE, member
from tests.cluster.health.linked import Linked as AnyLinked
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought

pytestmark = pytest.mark.looptime

START = 2 * MIB
# It had these bytes, and sends to one node, if nothing else is said.
Linked = partial(AnyLinked, had=START, uploads=1)


async def looks(
    source: AnyLinked,
    beside: Sequence[AnyLinked],
    *holders: AnyLinked,
    rate: float = 1.0,
    in_all: float | None = None,
    count: int = 4,
) -> list[bool]:
    """What is found, twice a second, by one who gets so many MiB a second from the source, and so many in all."""
    near = [member(2 + number, node) for number, node in enumerate(beside)]
    far = [member(50 + number, node) for number, node in enumerate(holders)]
    begun = asyncio.get_running_loop().time()

    def arrived() -> int:
        return int((asyncio.get_running_loop().time() - begun) * (rate if in_all is None else in_all) * MIB)

    async def holders_of(wanted: Sought) -> Sequence[Member]:
        assert wanted == sought(DIGEST)
        return far

    totals = Totals(lambda: [sought(digest) for digest in source.gets], arrived)
    offer = Offer(member(1, source), sought(DIGEST), GrowingContent(DIGEST, SIZE, None, 1), door=None, busy=False)
    links = LinkComparison(offer, holders_of, looks=ROOM_LOOKS, own=OwnLink(arrived), known=slow_links())
    compared = RoomComparison(offer, START, links=links, totals=totals)
    found = []
    for _ in range(count):
        await asyncio.sleep(0.5)
        seconds = asyncio.get_running_loop().time() - begun
        found.append(await compared.is_limit(START + int(seconds * rate * MIB), rate * MIB, near))
    return found


async def test_a_link_without_room_next_to_one_with_much_is_what_is_slow() -> None:
    """At the first look, though nobody is ahead, because all of them are below another slow node."""
    assert (await looks(Linked(0.7), [Linked(9)]))[0]


async def test_where_nothing_comes_meanwhile_a_node_further_up_stands_still() -> None:
    """A sample comes slowly then because this machine has much to do."""
    assert not any(await looks(Linked(0.7), [Linked(9)], in_all=0))


async def test_a_source_that_waits_itself_has_room() -> None:
    assert not any(await looks(Linked(9), [Linked(9)]))


async def test_where_links_are_full_one_sample_says_so_and_the_source_gives_none() -> None:
    source, other = Linked(4, gets={DIGEST: 10.0}), Linked(4)
    assert not any(await looks(source, [other], rate=10))
    assert source.reads == 0
    assert other.reads == SAMPLE_BYTES // PART_BYTES  # at one of the four looks


async def test_where_the_source_has_room_more_is_asked_at_each_look() -> None:
    other = Linked(9)
    assert not any(await looks(Linked(9), [other]))
    assert other.reads == 3 * SAMPLE_BYTES // PART_BYTES  # at three of the four looks


async def test_who_is_slow_itself_finds_nobody_who_gives_more() -> None:
    source = Linked(1, gets={DIGEST: 10.0})
    assert not any(await looks(source, [Linked(1)], Linked(1), rate=1))


async def test_one_beside_it_may_be_slow_as_well_and_others_are_asked_then() -> None:
    assert any(await looks(Linked(0.7), [Linked(0.7)], Linked(9)))
    assert not any(await looks(Linked(0.7), [Linked(0.7)], Linked(None)))


async def test_one_node_that_gives_little_does_not_make_our_own_link_full() -> None:
    assert (await looks(Linked(0.7), [Linked(0.2)], Linked(9)))[0]


async def test_nor_does_one_that_gives_nothing() -> None:
    assert (await looks(Linked(0.7), [Linked(0.2), Linked(None)], Linked(9)))[0]


async def test_a_link_that_quicker_sources_fill_is_no_excuse_for_a_slow_one() -> None:
    source = Linked(0.7, gets={DIGEST: 0.5, COMPANION: 0.5}, uploads=2)
    assert any(await looks(source, [Linked(0.2)], Linked(0.2), Linked(9), rate=0.5, in_all=7, count=2))


async def test_one_that_receives_well_and_sends_badly_is_found_out() -> None:
    source = Linked(0.7, gets={DIGEST: 10.0})
    assert (await looks(source, [Linked(9)]))[0]


async def test_so_is_one_that_has_all_of_it() -> None:
    assert any(await looks(Linked(0.7, is_whole=True), [Linked(9)]))


async def test_one_that_gives_little_to_many_is_not_slow() -> None:
    assert not any(await looks(Linked(0.9, gets={DIGEST: 10.0}, uploads=10), [Linked(9)]))


async def test_one_that_does_not_say_how_many_follow_it_is_judged_by_what_it_gets() -> None:
    assert not any(await looks(Linked(0.7, gets={DIGEST: 10.0}, uploads=0), [Linked(9)]))
    assert any(await looks(Linked(0.7, uploads=0), [Linked(9)]))


async def test_a_layer_with_a_small_share_of_a_full_link_is_no_reason() -> None:
    source = Linked(2, gets={DIGEST: 1.0, COMPANION: 9.0}, uploads=2)
    assert not any(await looks(source, [Linked(9)], rate=1, in_all=10))


async def test_a_source_that_gets_little_of_all_layers_is_slow() -> None:
    source = Linked(0.7, gets={DIGEST: 0.5, COMPANION: 0.5}, uploads=2)
    assert (await looks(source, [Linked(9)], rate=0.5, in_all=7)) == [False, True, True, True]


async def test_one_that_gives_no_sample_is_not_told_from_others() -> None:
    assert not any(await looks(Linked(None), [Linked(9)]))
    assert not any(await looks(Linked(0.7), [Linked(None)]))
