"""Nodes that are told to wait for the node before them, which has not claimed the content yet."""

from __future__ import annotations

import asyncio

import pytest

from registryd.cluster.contract.index import Claim, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.wave import EXPECTED_SECONDS, LINE_SECONDS, Wave
from tests.cluster.index.joining import DIGEST, MIB, address


def claim(number: int, *, failed: tuple[int, ...] = (), size: int = 100 * MIB, rank: int | None = -1) -> Claim:
    """The claim of the node that claimed the manifest after all nodes with lower numbers."""
    below = address(number - 1) if number > 1 else None
    rank = number - 1 if rank == -1 else rank
    return Claim(DIGEST, NodeLocation(address(number)), size, tuple(map(address, failed)), below=below, rank=rank)


def sources(wave: Wave, *claims: Claim, now: float = 0.0) -> list[list[int]]:
    return [[source.port for source in wave.join(one, now)] for one in claims]


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (3, 1, 4, 2), (2, 4, 3, 1)])
def test_in_whatever_order_nodes_claim_the_chain_is_that_of_their_manifest(order: tuple[int, ...]) -> None:
    wave = Wave()
    told = dict(zip(order, sources(wave, *map(claim, order)), strict=True))
    assert told == {1: [], 2: [1], 3: [2], 4: [3]}
    assert sources(wave, *map(claim, (1, 2, 3, 4)), now=60.0) == [[], [1], [2], [3]]


def test_a_node_that_does_not_come_is_not_waited_for_long() -> None:
    wave = Wave()
    assert sources(wave, claim(3), now=0.0) == [[2]]
    assert sources(wave, claim(3), now=EXPECTED_SECONDS - 0.1) == [[2]]
    assert sources(wave, claim(3), now=EXPECTED_SECONDS) == [[]]
    assert sources(wave, claim(4), now=EXPECTED_SECONDS) == [[3]]


def test_a_node_that_does_not_want_it_is_not_waited_for() -> None:
    wave = Wave()
    assert sources(wave, claim(3), claim(3, failed=(2,))) == [[2], []]
    assert sources(wave, claim(2), claim(1)) == [[1], [3]]  # what it said then is nothing against it now


def test_who_has_all_of_it_is_not_left_for_who_may_come() -> None:
    wave = Wave()
    wave.hold(NodeLocation(address(9)))
    assert sources(wave, claim(3)) == [[9]]


def test_without_a_rank_nobody_is_expected() -> None:
    """As of a layer whose manifest is not known: the node before may be that of another image."""
    assert sources(Wave(), claim(3, rank=None)) == [[]]


def test_in_a_tree_nobody_is_expected() -> None:
    assert sources(Wave(crowd=1000), claim(3)) == [[]]


def test_who_is_expected_takes_no_memory_of_its_own() -> None:
    wave = Wave()
    for number in range(3, 100, 2):
        wave.join(claim(number), 0.0)
    assert len(wave.addresses) == len(wave._tree._left_behind) == 49
    for number in range(3, 100, 2):
        wave.drop(address(number))
    assert not wave.addresses
    assert not wave._tree._left_behind


@pytest.mark.looptime
async def test_an_index_node_waits_a_moment_before_it_names_who_has_not_come() -> None:
    loop = asyncio.get_running_loop()
    desk = IndexState(NodeId("desk"), loop.time)
    verdict = await desk.decide(claim(2))
    assert loop.time() == pytest.approx(LINE_SECONDS)
    assert verdict.sources == (address(1),)
    assert verdict.is_below_missing
    assert (await desk.decide(claim(1))).sources == ()
    verdict = await desk.decide(claim(2))
    assert verdict.sources == (address(1),)
    assert not verdict.is_below_missing
    assert loop.time() == pytest.approx(LINE_SECONDS)
