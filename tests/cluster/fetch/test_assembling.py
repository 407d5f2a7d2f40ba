"""Large content that several peers have whole is got from all of them, through doors on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.content.source import ContentUnavailable
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.assembled import BEGINNING_BYTES, LEAST_BYTES
from registryd.transfer.errors import SourceBroken
from registryd.transfer.slots import SlotMemory
from tests.cluster.fetch.test_source import having, pull
from tests.fakes.doors import Door
from tests.fakes.entitled import sought
from tests.fakes.images import sample_bytes
from tests.fakes.peers import SlowStore

if TYPE_CHECKING:
    from tests.cluster.conftest import Lab, Node

LARGE = sample_bytes(LEAST_BYTES + 12345)
# So that no door alone is as quick as several, and others are found in time on a busy machine, too: what each needs for
# a MiB.
SECONDS = 0.15


def door(**character: float | bool | None) -> Door:
    return Door({Digest.of(LARGE): LARGE}, **({"seconds": SECONDS} | character))  # type: ignore[arg-type]


async def node_with(lab: Lab, *doors: Door, memory: SlotMemory | None = None) -> Node:
    """A node whose peers have these doors; the first peer is the first to say that it has the content."""
    peers = [
        await lab.good(
            SlowStore(having(LARGE), seconds=0.03) if number else having(LARGE),
            content_port=await lab.start(one.open()),
        )
        for number, one in enumerate(doors)
    ]
    return await lab.node(*peers, memory=memory or SlotMemory(128 << 20))


async def test_all_give_parts_of_it(lab: Lab) -> None:
    doors = [door(), door(), door()]
    assert await pull(await node_with(lab, *doors), LARGE) == LARGE
    assert doors[0].requests[0] == Span(0, BEGINNING_BYTES)
    assert all(len(one.requests) > 1 for one in doors)
    assert sum(span.length for one in doors for span in one.requests) == len(LARGE)


async def test_holders_are_told_which_part_it_is(lab: Lab) -> None:
    doors = [door(), door()]
    await pull(await node_with(lab, *doors), LARGE)
    assert doors[0].parts[0] == ""
    assert set(doors[0].parts[1:]) == {"next"}
    assert set(doors[1].parts) == {"extra"}


async def test_a_range_of_it(lab: Lab) -> None:
    doors = [door(), door()]
    node = await node_with(lab, *doors)
    assert await pull(node, LARGE, Span(7, len(LARGE) - 9)) == LARGE[7:-9]
    assert doors[1].requests


async def test_what_is_not_so_large_is_one_request(lab: Lab) -> None:
    doors = [door(), door()]
    node = await node_with(lab, *doors)
    span = Span(5, LEAST_BYTES)
    assert await pull(node, LARGE, span) == LARGE[5:LEAST_BYTES]
    assert doors[0].requests == [span]
    assert not doors[1].requests


async def test_without_memory_it_is_one_request(lab: Lab) -> None:
    doors = [door(), door()]
    assert await pull(await node_with(lab, *doors, memory=SlotMemory()), LARGE) == LARGE
    assert doors[0].requests == [Span.whole(len(LARGE))]


async def test_one_peer_that_has_it_gives_all_of_it(lab: Lab) -> None:
    only = door()
    assert await pull(await node_with(lab, only), LARGE) == LARGE
    assert len(only.requests) <= 3


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("character", [{"stops_after": 100_000}, {"stops_after": 100_000, "resets": True}])
async def test_one_that_breaks_off_costs_its_part(lab: Lab, bad: int, character: dict[str, float | bool]) -> None:
    doors = [door(), door(), door()]
    doors[bad] = door(**character)
    assert await pull(await node_with(lab, *doors), LARGE) == LARGE
    assert len(doors[bad].requests) == 1


async def test_one_that_is_busy_is_not_needed(lab: Lab) -> None:
    doors = [door(), door(status=503)]
    assert await pull(await node_with(lab, *doors), LARGE) == LARGE


async def test_when_all_break_off_the_body_breaks(lab: Lab) -> None:
    node = await node_with(lab, door(stops_after=100_000), door(stops_after=100_000))
    with pytest.raises(SourceBroken):
        await pull(node, LARGE)
    with pytest.raises(ContentUnavailable):
        await node.source.open(sought(Digest.of(LARGE)), Span.whole)
    assert node.hindrances.told([Digest.of(LARGE)]) == ["lost a source: 127.0.0.1"]


async def test_who_broke_off_is_asked_again_when_the_request_comes_again(lab: Lab) -> None:
    """containerd has asked its other hosts meanwhile, in vain: behind an air gap there is none."""
    doors = [door(stops_after=100_000), door(stops_after=100_000)]
    node = await node_with(lab, *doors)
    with pytest.raises(SourceBroken):
        await pull(node, LARGE)
    for one in doors:
        one.stops_after = None
    reached = Span(100_000, len(LARGE))
    with pytest.raises(ContentUnavailable):
        await node.source.open(sought(Digest.of(LARGE)), lambda _: reached)
    await asyncio.sleep(1.1)
    with pytest.raises(ContentUnavailable):  # what an origin gave until there is not asked for again
        await node.source.open(sought(Digest.of(LARGE)), lambda _: Span(100_001, 200_000))
    await asyncio.sleep(1.1)
    assert await pull(node, LARGE, reached) == LARGE[100_000:]


async def test_all_that_gave_are_suspected_for_a_moment_when_it_was_wrong(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registryd.cluster.health.penalties.ONE_OF_SEVERAL_SECONDS", 4.0)
    doors = [door(), door(), door()]
    node = await node_with(lab, *doors)
    await pull(node, LARGE)
    node.source.blame.thrown_away(Digest.of(LARGE))
    with pytest.raises(ContentUnavailable):
        await pull(node, LARGE)
    await asyncio.sleep(4.1)

    for one in doors:
        one.requests.clear()
    assert await pull(node, LARGE) == LARGE
    asked = [one for one in doors if one.requests]
    assert [one.requests for one in asked] == [[Span.whole(len(LARGE))]]  # one gave all of it

    node.source.blame.thrown_away(Digest.of(LARGE))
    assert await pull(node, LARGE) == LARGE
    assert len([one for one in doors if one.requests]) == 2  # that one is not asked again, the others are
