"""An idle cluster notices that a member has ended, at a cost that does not grow with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.scope import open_scope
from registryd.cluster.members.heartbeat import ALL_WATCHED, Heartbeat, watched
from registryd.cluster.members.member import MemberState
from registryd.notation import Address
from registryd.observability.metrics import PeerTrouble
from tests.cluster.members.test_roster import DIGEST, Ground
from tests.fakes.entitled import sought

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.looptime

OWN = Address("192.0.2.250", 1)
# What is promised (docs/operations.md); a question is given up by GrpcPeer after peers.find_timeout, here at once.
_NOTICED_SECONDS = 15


def hosts(count: int) -> list[Address]:
    return [Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 3173) for number in range(count)]


@asynccontextmanager
async def idle(count: int) -> AsyncIterator[Ground]:
    made = Ground(*hosts(count), greet_limit=32)
    async with open_scope() as scope:
        scope.serve(partial(made.members.run, made.discovery), name="members")
        await asyncio.sleep(0.001)
        scope.serve(Heartbeat(made.members, lambda: OWN).run, name="heartbeat")
        yield made


async def test_the_end_of_an_idle_member_is_noticed() -> None:
    async with idle(9) as made:
        await asyncio.sleep(60)
        gone = made.peers[hosts(9)[4]]
        gone.is_well = False
        await asyncio.sleep(_NOTICED_SECONDS - 2)
        assert made.states()[hosts(9)[4]] is MemberState.SET_ASIDE
        member = next(each for each in made.members.everyone() if each.address == hosts(9)[4])
        assert member.trouble is PeerTrouble.NO_ANSWER


@pytest.mark.parametrize("count", [9, 99, 4_999])
async def test_what_an_idle_node_asks_does_not_grow_with_the_cluster(count: int) -> None:
    async with idle(count) as made:
        await asyncio.sleep(20)
        before = sum(len(peer.asked) for peer in made.peers.values())
        await asyncio.sleep(100)
        asked = sum(len(peer.asked) for peer in made.peers.values()) - before
        assert 0.7 < asked / 100 < 1.2


async def test_a_member_that_answers_other_questions_is_not_asked_besides() -> None:
    async with idle(1) as made:
        await asyncio.sleep(11)
        peer, member = made.peers[hosts(1)[0]], made.members.available()[0]
        peer.asked.clear()
        for _ in range(20):
            await member.find(sought(DIGEST))
            await asyncio.sleep(3)
        assert {question for _, question in peer.asked} == {"find"}


@pytest.mark.parametrize("count", [1, 2, ALL_WATCHED, ALL_WATCHED + 1, 100, 1000])
def test_everyone_is_watched_by_others(count: int) -> None:
    everyone = hosts(count + 1)
    watchers = dict.fromkeys(everyone, 0)
    for own in everyone:
        chosen = watched(everyone, own)
        assert own not in chosen
        assert len(set(chosen)) == len(chosen) == min(count, 8 if count > ALL_WATCHED else count)
        for address in chosen:
            watchers[address] += 1
    assert min(watchers.values()) >= min(count, 8)


def test_who_watches_is_watched() -> None:
    """So the first heartbeat of a member that is back is heard by those who had set it aside."""
    everyone = hosts(100)
    for own in everyone:
        assert all(own in watched(everyone, other) for other in watched(everyone, own))
