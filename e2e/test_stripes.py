"""A layer that comes to real nodes in stripes: what is odd about a node, or happens to it, fails no pull of another."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest

from e2e.stripe_stage import (
    MEGABITS,
    PATIENCE,
    STRIPED,
    UNASKED,
    NotTogether,
    again,
    become,
    copies,
    log_of,
    odd,
    pull,
    pull_everywhere,
    pushed,
    require_all_well,
    require_stripes,
    striped_image,
    top_of,
    tries,
    victim_of,
    wait_under_way,
    wave,
)
from lab.hurried_silence import STALL_SECONDS
from lab.odd_stripes import WRONG
from lab.roles import fetcher_of, index_node_of

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.versions import Release

pytestmark = pytest.mark.timeout(600)

# What a link carries that is as good as none; it cannot be set to nothing.
STILL_MEGABITS = 0.05
# Of one node, for so long: as long as the whole layer takes.
SLOW_MEGABITS = 2
SLOW_SECONDS = 5.0
SPREAD_NODES = 8
LAST = re.compile(r"stripe \d of \S+ comes last, from \S+ now")
SAID_TO_HAVE_NOTHING = re.compile(r"stripe \d of \S+ does not come: (\S+):\d+ does not have it")
NO_STRIPES = "does not come in stripes"
# Where so many have to come at once, the first two and two more get it as a whole.
SLOW_START_NODES = 8
SLOW_START_STRIPES = 3


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return striped_image(tmp_path / "layout")


@again
async def test_the_origin_sends_a_layer_once_that_comes_in_stripes(
    release: Release, image: Image, tmp_path: Path
) -> None:
    layer = image.local.layers[0].digest
    async with wave(release, tmp_path / "secret") as cluster:
        reference = await pushed(cluster, image)
        await pull_everywhere(cluster, reference)
        require_stripes(cluster, layer)
        assert copies(cluster, layer) == 1
        unasked = [len(UNASKED.findall(log_of(node))) for node in cluster.nodes]
        print(f"stripes that came from sources that were asked for bytes only: {unasked}")
        assert sum(unasked) > len(cluster.nodes), "sources were asked what they have"
        await require_all_well(cluster, layer)


async def begin_slowly(cluster: Cluster, reference: str, layer: str) -> list[asyncio.Task[str]]:
    """Pulls on all nodes, of which the first two get the layer as a whole before the others come."""
    first, second, *others = cluster.nodes
    pulls = [asyncio.create_task(pull(first, reference))]
    async with asyncio.timeout(PATIENCE):
        while first.containerd.arrived(layer) <= 0:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)
        pulls.append(asyncio.create_task(pull(second, reference)))
        while second.containerd.arrived(layer) <= 0:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)
    return [*pulls, *(asyncio.create_task(pull(node, reference)) for node in others)]


async def end_without(victim: Node, cluster: Cluster, layer: str, pulling: Awaitable[object]) -> None:
    """This node's agent dies now, in a wave under way: all pulls succeed, and agents keep nothing of the layer."""
    assert victim.agent
    await victim.agent.kill()
    await pulling
    require_stripes(cluster, layer)
    print(f"{copies(cluster, layer)} copies from the origin")
    await require_all_well(cluster, layer, but=[victim])


@again
async def test_those_that_come_when_starts_quicken_get_it_in_stripes_from_one_that_gets_it_as_a_whole(
    release: Release, image: Image, tmp_path: Path
) -> None:
    layer = image.local.layers[0].digest
    async with wave(release, tmp_path / "secret", nodes=SLOW_START_NODES, stripes_from=SLOW_START_STRIPES) as cluster:
        reference = await pushed(cluster, image)
        await asyncio.gather(*await begin_slowly(cluster, reference, layer))
        require_stripes(cluster, layer)
        assert copies(cluster, layer) == 1
        if top_of(cluster, layer) is fetcher_of(cluster, layer):
            raise NotTogether("the last of those that get it as a whole waited for its predecessor")
        await require_all_well(cluster, layer)


@pytest.mark.parametrize("role", ["fetcher", "top"])
@again
async def test_when_one_dies_that_they_get_stripes_by_way_of_no_other_pull_fails(
    newest: Release, image: Image, tmp_path: Path, role: str
) -> None:
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret", nodes=SLOW_START_NODES, stripes_from=SLOW_START_STRIPES) as cluster:
        reference = await pushed(cluster, image)
        pulls = await begin_slowly(cluster, reference, layer)
        await wait_under_way(cluster, layer)
        await end_without(victim_of(cluster, role, layer), cluster, layer, asyncio.gather(*pulls))
        assert copies(cluster, layer) <= 2


@pytest.mark.parametrize("role", ["fetcher", "middle", "index"])
@again
async def test_an_agent_that_dies_in_the_wave_fails_no_pull(
    newest: Release, image: Image, tmp_path: Path, role: str
) -> None:
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret") as cluster:
        reference = await pushed(cluster, image)
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await wait_under_way(cluster, layer)
        await end_without(victim_of(cluster, role, layer), cluster, layer, pulling)


@again
async def test_where_the_origin_stands_still_no_pull_fails_and_no_source_but_the_fetcher_is_left(
    newest: Release, image: Image, tmp_path: Path
) -> None:
    """For longer than a fetcher may be silent; silences last a fifth of what they last in life."""
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret", program=odd("plain", program="lab.hurried_silence")) as cluster:
        reference = await pushed(cluster, image)
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await wait_under_way(cluster, layer)
        top = fetcher_of(cluster, layer)
        await cluster.origin_host.limit(STILL_MEGABITS)
        await asyncio.sleep(2 * STALL_SECONDS)  # of silence
        await cluster.origin_host.limit(MEGABITS)
        await pulling
        require_stripes(cluster, layer)
        print(f"{copies(cluster, layer)} copies from the origin")
        left = {host for node in cluster.nodes for host in SAID_TO_HAVE_NOTHING.findall(log_of(node))}
        print(f"{top.host.ipv4} fetched it, and had nothing: {left}")
        gave_up = [node.host for node in cluster.nodes if NO_STRIPES in log_of(node)]
        print(f"{[host.name for host in gave_up]} went on without stripes")
        assert copies(cluster, layer) <= 3
        assert left <= {top.host.ipv4, *(host.ipv4 for host in gave_up)}, "one that waits itself"
        await require_all_well(cluster, layer)


@again
async def test_what_a_node_held_up_that_was_slow_for_a_while_comes_from_its_other_followers(
    newest: Release, image: Image, tmp_path: Path
) -> None:
    """All other stripes are here by then: followers that would share one link get the last one from each other."""
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret", nodes=SPREAD_NODES) as cluster:
        reference = await pushed(cluster, image)
        pulling = asyncio.create_task(pull_everywhere(cluster, reference))
        await wait_under_way(cluster, layer)
        slow = victim_of(cluster, "middle", layer)
        await slow.host.limit(SLOW_MEGABITS)
        await asyncio.sleep(SLOW_SECONDS)
        await slow.host.limit(MEGABITS)
        await pulling
        require_stripes(cluster, layer)
        moved = [node.host.name for node in cluster.nodes if LAST.search(log_of(node))]
        print(f"{moved} got their last stripe from others; {copies(cluster, layer)} copies from the origin")
        assert copies(cluster, layer) == 1
        assert not [node.host.name for node in cluster.nodes if NO_STRIPES in log_of(node)], "a node gave stripes up"
        await require_all_well(cluster, layer)
        if not moved:
            raise NotTogether("the slow node gave no stripe to several others")


@pytest.mark.parametrize("role", ["fetcher", "middle"])
@again
async def test_a_node_that_falls_silent_in_the_wave_fails_no_pull_of_another(
    newest: Release, image: Image, tmp_path: Path, role: str
) -> None:
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret") as cluster:
        reference = await pushed(cluster, image)
        begun = time.monotonic()
        pulls = {node.host.name: asyncio.create_task(pull(node, reference)) for node in cluster.nodes}
        await wait_under_way(cluster, layer)
        victim = victim_of(cluster, role, layer)
        await victim.host.unplug()
        lost = pulls.pop(victim.host.name)
        await asyncio.gather(*pulls.values())
        print(f"the other {len(pulls)} nodes in {time.monotonic() - begun:.2f} s")
        lost.cancel()
        await asyncio.wait([lost])
        require_stripes(cluster, layer)
        await require_all_well(cluster, layer, but=[victim])


@again
async def test_wrong_bytes_of_a_stripe_are_refused_and_the_next_try_succeeds(
    newest: Release, image: Image, tmp_path: Path
) -> None:
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret") as cluster:
        liar = next(node for node in cluster.nodes if node is not index_node_of(cluster, layer))
        await become(liar, "wrong")
        await cluster.wait_acquainted()
        reference = await pushed(cluster, image)

        counts = await asyncio.gather(*(tries(node, reference, layer) for node in cluster.nodes))
        print(f"tries: {counts}; {copies(cluster, layer)} copies from the origin")
        require_stripes(cluster, layer)
        assert WRONG in log_of(liar)
        assert max(counts) == 2, "somebody was given wrong bytes"
        for node in cluster.nodes:
            _, was_wrong, then = log_of(node).partition(f"wrong bytes of {layer} came from")
            assert not was_wrong or STRIPED not in then, "of several sources it is not known which one is to blame"
        await require_all_well(cluster, layer)


@pytest.mark.parametrize("role", ["fetcher", "middle"])
@again
async def test_an_agent_of_an_older_version_takes_part_in_the_wave(
    newest: Release, image: Image, tmp_path: Path, role: str
) -> None:
    layer = image.local.layers[0].digest
    async with wave(newest, tmp_path / "secret") as cluster:
        old = next(node for node in cluster.nodes if node is not index_node_of(cluster, layer))
        await become(old, "old")
        await cluster.wait_acquainted()
        reference = await pushed(cluster, image)
        others = [node for node in cluster.nodes if node is not old]
        begin, follow = ([old], others) if role == "fetcher" else (others, [old])
        pulls = [asyncio.create_task(pull(node, reference)) for node in begin]
        if role == "fetcher":
            async with asyncio.timeout(PATIENCE):
                while old.containerd.arrived(layer) < 0:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.005)
        else:  # among those that ask at the beginning, one of six would be too many for stripes
            await wait_under_way(cluster, layer)
        await asyncio.gather(*pulls, *(pull(node, reference) for node in follow))
        assert STRIPED not in log_of(old)
        if role == "middle":
            require_stripes(cluster, layer)
        assert copies(cluster, layer) == 1
        await require_all_well(cluster, layer)
