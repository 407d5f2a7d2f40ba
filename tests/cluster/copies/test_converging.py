"""Copies come to be as many as are wanted, through losses, and nobody takes more than its budget. In virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.cluster.copies.world import DELAY, PULL, SIZE, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.content.keepable import KeptImage
    from tests.cluster.copies.world import FakeNode

pytestmark = pytest.mark.looptime

NAME = "ghcr.io/corp/app:v1"
# Everything that lacks is noticed, waited for, offered, and brought within this time.
SETTLED = DELAY + PULL + 180.0


async def settled_images(world: World, count: int, *, on: Sequence[FakeNode]) -> list[KeptImage]:
    """Images that these nodes have, of which as many copies are kept as are wanted."""
    images = [world.push(f"ghcr.io/corp/app{number}:v1") for number in range(count)]
    for image in images:
        for node in on:
            node.has(image)
    await asyncio.sleep(SETTLED)
    return images


async def test_those_that_have_it_keep_it_as_often_as_is_wanted_and_nobody_pulls() -> None:
    async with World(50) as world:
        image = world.push(NAME)
        for node in world.nodes:
            node.has(image)
        await asyncio.sleep(SETTLED * 2)
        assert len(world.keepers(image)) == 3
        assert world.pulls() == 0
        assert all(node.pinned == ({NAME} if node.keeps(image) else set()) for node in world.nodes)


async def test_an_image_of_one_node_comes_to_two_others() -> None:
    async with World(20) as world:
        image = world.push(NAME)
        world.nodes[7].has(image)
        await asyncio.sleep(SETTLED)
        assert len(world.keepers(image)) == 3
        assert world.pulls() == 2


@pytest.mark.parametrize("seed", range(4))
async def test_losses_are_made_up_for_and_there_is_never_more_than_one_too_many(seed: int) -> None:
    chance = random.Random(seed)
    async with World(30) as world:
        images = [world.push(f"ghcr.io/corp/app{number}:v1") for number in range(10)]
        for image in images:
            for node in chance.sample(world.nodes, 3):
                node.has(image)
        await asyncio.sleep(SETTLED)
        most = 0
        for _ in range(6):
            victim = chance.choice(list(world.alive.values()))
            kind = chance.choice(["kill", "drain", "collect"])
            if kind == "collect":
                for image in images:
                    victim.lose(image)
            else:
                await victim.stop(says_goodbye=kind == "drain")
            for _ in range(int(SETTLED / 5)):
                await asyncio.sleep(5)
                most = max(most, *(len(world.keepers(image)) for image in images))
            assert [len(world.keepers(image)) for image in images] == [3] * 10
        assert most <= 4


async def test_agents_that_start_anew_one_after_the_other_cost_no_pull() -> None:
    async with World(10) as world:
        images = await settled_images(world, 5, on=world.nodes[:3])
        for node in world.nodes:
            await node.stop(says_goodbye=True)
            await asyncio.sleep(20)
            node.start()
            world.known = frozenset(world.alive)
            await asyncio.sleep(40)
        await asyncio.sleep(SETTLED)
        assert world.pulls() == 0
        assert [len(world.keepers(image)) for image in images] == [3] * 5


async def test_a_node_that_comes_back_makes_one_go_again() -> None:
    async with World(10) as world:
        image = world.push(NAME)
        for node in world.nodes[:3]:
            node.has(image)
        await asyncio.sleep(SETTLED)
        gone = world.keepers(image)[0]
        await gone.stop(says_goodbye=False)
        await asyncio.sleep(SETTLED)
        assert len(world.keepers(image)) == 3
        gone.start()
        world.known = frozenset(world.alive)
        await asyncio.sleep(SETTLED * 2)
        assert len(world.keepers(image)) == 3
        assert world.pulls() == 1


async def test_halves_have_as_many_copies_each_and_no_more_together_when_they_meet_again() -> None:
    async with World(20) as world:
        images = await settled_images(world, 5, on=world.nodes[:12])
        island = frozenset(node.address for node in world.nodes[::2])
        world.part(island)
        await asyncio.sleep(SETTLED * 2)
        for image in images:
            inside = sum(node.address in island for node in world.keepers(image))
            assert (inside, len(world.keepers(image)) - inside) == (3, 3)
        fewest = 6
        world.part(frozenset())
        for _ in range(int(SETTLED * 2 / 5)):
            await asyncio.sleep(5)
            fewest = min(fewest, *(len(world.keepers(image)) for image in images))
        assert [len(world.keepers(image)) for image in images] == [3] * 5
        assert fewest == 3
        # Six nodes of each half had it already.
        assert world.pulls() == 0


async def test_nobody_takes_more_than_its_budget() -> None:
    async with World(8, most_bytes=2 * SIZE) as world:
        images = [world.push(f"ghcr.io/corp/app{number}:v1") for number in range(6)]
        for number, image in enumerate(images):
            world.nodes[number % 4].has(image)
        await asyncio.sleep(SETTLED * 2)
        assert max(node.most_used for node in world.nodes) <= 2 * SIZE
        # There is room for 16 of 18 copies: nearly all that can be kept is kept.
        assert sum(len(world.keepers(image)) for image in images) >= 13


async def test_copies_are_in_as_many_zones_as_are_wanted() -> None:
    async with World(12, lines=("ghcr.io/corp/* copies=3 zones=3",), zones=("a", "b", "c")) as world:
        image = world.push(NAME)
        for node in world.nodes[0:9:3]:  # all of zone a
            node.has(image)
        await asyncio.sleep(SETTLED * 3)
        keepers = world.keepers(image)
        assert sorted(node.zone for node in keepers) == ["a", "b", "c"]


async def test_what_nobody_may_pull_is_tried_by_each_in_turn_and_not_again_and_again() -> None:
    async with World(6) as world:
        image = world.push(NAME)
        world.origin_lacks.add(NAME)
        world.nodes[0].has(image)
        await asyncio.sleep(3600)
        assert world.keepers(image) == [world.nodes[0]]
        assert 5 <= world.pulls() <= 5 * 7
        assert world.nodes[0].keeper
        (keeping,) = world.nodes[0].keeper.kept.values()
        assert keeping.state == "alone"


async def test_a_tag_that_means_something_newer_elsewhere_is_not_copied_any_more() -> None:
    async with World(6) as world:
        old = world.push(NAME, "old")
        world.nodes[0].has(old, seen_at=1.0)
        new = world.push(NAME, "new")
        await asyncio.sleep(SETTLED * 3)
        # The copies were pulled by the tag, which means the new one by now.
        assert world.keepers(old) == [world.nodes[0]]
        assert len(world.keepers(new)) == 3
        assert world.pulls() <= 4


async def test_an_image_that_no_rule_names_is_left_alone() -> None:
    async with World(6) as world:
        image = world.push("docker.io/library/alpine:3")
        world.nodes[0].has(image)
        await asyncio.sleep(SETTLED)
        assert world.keepers(image) == []
        assert world.pulls() == 0
