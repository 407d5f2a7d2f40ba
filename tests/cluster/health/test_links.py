"""Whether the one that goes to the origin is slower than the origin: in virtual time, with links that are made up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.health.comparing import LinkComparison
from registryd.cluster.health.links import UplinkProbe
from registryd.cluster.health.own_link import OwnLink
from registryd.cluster.health.samples import slow_links
from registryd.cluster.health.totals import Totals
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.transfer.monitoring.thresholds import (
    KNOWN_SLOW_SECONDS,
    LINK_LOOKS,
    SAMPLE_BYTES,
    SHORTEST_SAMPLE_SECONDS,
)
from tests.cluster.health.linked import COMPANION, DIGEST, MIB, SIZE, Linked, member
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.health.samples import SlowLinks
    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought

pytestmark = pytest.mark.looptime


async def looks(
    top: Linked,
    *others: Linked,
    rate: float = 1.0,
    count: int = 25,
    known: SlowLinks | None = None,
    again: float | None = None,
) -> list[bool]:
    """What is found, twice a second, by one who gets so many MiB a second from the top, and nothing else.

    `again`: how many come while the top is sampled.
    """
    source = member(1, top)
    members = [source, *(member(number, node) for number, node in enumerate(others, 2))]

    async def holders(wanted: Sought) -> Sequence[Member]:
        assert wanted == sought(DIGEST)
        return members

    offer = Offer(source, sought(DIGEST), GrowingContent(DIGEST, SIZE, None, 1), door=None, busy=False)
    begun = asyncio.get_running_loop().time()

    def arrived() -> int:
        seconds = asyncio.get_running_loop().time() - begun
        more = max(0.0, seconds - 0.5) * (rate if again is None else again)
        return int((min(seconds, 0.5) * rate + more) * MIB)

    totals = Totals(lambda: [sought(digest) for digest in top.gets], arrived)
    known = slow_links() if known is None else known
    links = LinkComparison(offer, holders, looks=LINK_LOOKS, own=OwnLink(arrived), known=known)
    link = UplinkProbe(offer, start=0, links=links, totals=totals)
    found = []
    for _ in range(count):
        await asyncio.sleep(0.5)
        found.append(await link.is_limit(int((asyncio.get_running_loop().time() - begun) * rate * MIB)))
    return found


async def test_a_link_without_room_next_to_one_with_much_is_what_is_slow() -> None:
    assert await looks(Linked(0.7), Linked(9), count=1) == [True]


async def test_one_that_stood_still_for_a_moment_is_not_slow() -> None:
    assert await looks(Linked(0.7), Linked(9), count=1, again=2.9) == [True]
    assert await looks(Linked(0.7), Linked(9), count=1, again=3.2) == [False]  # a third of what the other one gives


async def test_the_sample_of_a_top_takes_no_longer_than_it_must() -> None:
    begun = asyncio.get_running_loop().time()
    assert await looks(Linked(0.01), Linked(9), count=1) == [True]
    others = 0.5 + SAMPLE_BYTES / MIB / 9
    assert asyncio.get_running_loop().time() - begun == pytest.approx(others + 2 * SHORTEST_SAMPLE_SECONDS, abs=0.01)


async def test_a_link_that_is_full_of_another_layer_is_not_slow() -> None:
    top, other = Linked(3, gets={DIGEST: 1.0, COMPANION: 8.0}), Linked(10)
    assert not any(await looks(top, other))
    assert other.reads > 0


async def test_a_layer_that_is_through_has_had_its_share() -> None:
    """It takes all of the link for four seconds; the look at 5.5 seconds, with a busy link, is still no reason."""
    top = Linked(3, gets={DIGEST: 0.5, COMPANION: 8.0})
    through = asyncio.get_running_loop().call_later(4, top.gets.pop, COMPANION)
    assert not any(await looks(top, Linked(10), rate=0.5, count=12))
    through.cancel()


async def test_where_the_top_has_room_the_origin_is_slow() -> None:
    top = Linked(9)
    assert not any(await looks(top, Linked(9)))
    assert top.reads > 0


async def test_where_every_link_is_as_full_nobody_is_slow() -> None:
    assert not any(await looks(Linked(0.5), Linked(1), Linked(2.5)))


async def test_one_quick_link_among_others_is_enough() -> None:
    assert any(await looks(Linked(0.7), Linked(0.7), Linked(None), Linked(9)))


async def test_without_anybody_to_compare_it_with_it_is_kept_and_gives_no_sample() -> None:
    top = Linked(0.7)
    assert not any(await looks(top))
    assert top.reads == 0


async def test_one_that_refuses_a_sample_is_not_told_from_others() -> None:
    assert not any(await looks(Linked(None), Linked(9), count=10))


async def test_one_that_says_that_it_has_a_sample_and_gives_none_is_slow() -> None:
    assert await looks(Linked(None, is_silent=True), Linked(9), count=1) == [True]


async def test_who_has_no_sample_yet_takes_none() -> None:
    top = Linked(0.7)
    assert not any(await looks(top, Linked(9), rate=0.1, count=8))
    assert top.reads == 0


async def test_one_that_gets_much_and_gives_little_is_what_is_slow() -> None:
    top = Linked(0.7, gets={DIGEST: 9.0}, uploads=1)
    assert any(await looks(top, Linked(9)))
    assert not any(await looks(Linked(0.7, gets={DIGEST: 9.0}), Linked(9)))  # it does not say how many follow it


async def test_one_that_gives_little_to_many_is_not_slow() -> None:
    assert not any(await looks(Linked(0.9, gets={DIGEST: 9.0}, uploads=9), Linked(9)))


async def test_what_was_found_with_one_layer_counts_for_the_next_for_a_while() -> None:
    known = slow_links()
    assert (await looks(Linked(0.7), Linked(9), count=2, known=known))[-1]
    other = Linked(9)
    assert (await looks(Linked(0.7), other, count=1, known=known)) == [True]
    assert other.reads == 0
    await asyncio.sleep(KNOWN_SLOW_SECONDS)
    assert (await looks(Linked(9), other, count=1, known=known)) == [False]
