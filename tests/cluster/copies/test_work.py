"""What a look at an image costs a node: nothing for each member, and nothing for each image that is here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.index import Claim, ClaimReply
from registryd.cluster.copies.census import Census
from registryd.config.keeping import Wanted
from registryd.notation import Address
from tests.cluster.copies.world import FakeNode, World, image_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.content.keepable import ImageHere

pytestmark = pytest.mark.looptime

MEMBERS = frozenset(Address(f"10.0.{number // 250}.{number % 250}", 3173) for number in range(5000))
OWN, SECOND, THIRD, *_ = sorted(MEMBERS, key=str)
KEY = image_of("ghcr.io/corp/app:v1").key


class Answering:
    """Index nodes that always name the same nodes."""

    def __init__(self, *sources: Address) -> None:
        self._sources = sources

    async def claim(self, claim: Claim) -> ClaimReply:
        return ClaimReply(self._sources, is_whole=True)


class CountedZones:
    """Every second member is in a zone of its own name, or none is; how often that was asked."""

    def __init__(self, *, are_known: bool = True) -> None:
        self.are_known = are_known
        self.asked = 0

    def __call__(self, address: Address) -> str:
        self.asked += 1
        return f"zone-{hash(address) % 2}" if self.are_known else ""


@pytest.mark.parametrize("are_known", [True, False])
@pytest.mark.parametrize("zones", [1, 2])
async def test_looking_does_not_go_through_all_members(zones: int, *, are_known: bool) -> None:
    counted = CountedZones(are_known=are_known)
    census = Census(Answering(SECOND, THIRD), lambda: MEMBERS, lambda: OWN, counted)
    wanted = Wanted(3, zones)
    for _ in range(100):
        others = await census.who_tell(KEY)
        assert others == frozenset({SECOND, THIRD})
        census.standing(KEY, others | {OWN}, wanted)
    assert counted.asked <= (len(MEMBERS) if zones > 1 else 0) + 100 * 20


async def test_zones_that_discovery_tells_late_count_within_a_minute() -> None:
    counted = CountedZones(are_known=False)
    census = Census(Answering(), lambda: MEMBERS, lambda: OWN, counted)
    assert not census.standing(KEY, {OWN}, Wanted(1, 2)).lacks_zone
    counted.are_known = True
    await asyncio.sleep(60)
    assert census.standing(KEY, {OWN}, Wanted(1, 2)).lacks_zone


async def test_a_single_zone_is_never_lacking() -> None:
    census = Census(Answering(), lambda: MEMBERS, lambda: OWN, lambda each: "" if each == OWN else "b")
    standing = census.standing(KEY, {OWN}, Wanted(1))
    assert standing.is_enough
    assert not standing.lacks_zone


async def test_the_line_has_every_other_member_once_and_new_zones_are_a_part_of_it() -> None:
    census = Census(Answering(), lambda: MEMBERS, lambda: OWN, CountedZones())
    line = list(census.next_after(KEY, {SECOND}))
    assert sorted(line, key=str) == sorted(MEMBERS - {OWN, SECOND}, key=str)
    assert line == list(census.in_line(KEY, line))
    elsewhere = list(census.next_in_new_zone(KEY, {SECOND}))
    assert elsewhere == [each for each in line if hash(each) % 2 != hash(SECOND) % 2]


class CountedNode(FakeNode):
    """How often its images were listed."""

    listed = 0

    async def images(self) -> Collection[ImageHere]:
        CountedNode.listed += 1
        return await super().images()


@pytest.mark.timeout(300)  # 14 s and more of a processor
async def test_images_are_listed_when_they_change_and_not_at_each_look() -> None:
    async with World(3, kind=CountedNode) as world:
        for number in range(20):
            for node in world.nodes:
                node.has(world.push(f"ghcr.io/corp/app{number}:v1"))
        await asyncio.sleep(600)
        before = CountedNode.listed
        await asyncio.sleep(3600)
        assert CountedNode.listed == before
        assert sum(world.questions.values()) > 20 * 3 * 60
        world.nodes[0].has(world.push("ghcr.io/corp/new:v1"))
        await asyncio.sleep(600)
        assert before < CountedNode.listed < before + 10
        assert world.nodes[0].keeps(world.means["ghcr.io/corp/new:v1"])
