"""An index node's memory: a month of ordinary life, and a member that makes things up."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.index import Announcement, Claim, NodeLocation
from registryd.cluster.contract.node import NodeId
from registryd.cluster.index.desk import WAVE_SECONDS, IndexState, Quotas
from registryd.cluster.index.speakers import Speakers
from registryd.identity.requester import Requester
from registryd.notation import Address
from registryd.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
# Holders announce everything again this often.
ROUND_SECONDS = WAVE_SECONDS / 2
ROUNDS_OF_A_MONTH = 30 * 24 * 3600 // int(ROUND_SECONDS)
# An eighth of what one node of a few tells another: tracing memory takes its time.
DIGESTS = [Digest.of(str(number).encode()) for number in range(50)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def place(number: int, *, port: int = 3173, zone: str = "") -> NodeLocation:
    return NodeLocation(Address(f"10.0.{number >> 8}.{number & 255}", port), zone)


@pytest.mark.usefixtures("traced")
def test_a_month_of_announcing_again_adds_at_most_two_mebibytes() -> None:
    """Three nodes, so that there are trees; half of what they say comes from claims in the meantime."""
    clock = Clock()
    desk = IndexState(NodeId("desk"), clock)

    def live_for_a_round() -> None:
        clock.now += ROUND_SECONDS
        for number in range(3):
            held_digests = DIGESTS[number::3]
            desk.announce(Announcement(place(number), held=held_digests, is_all=True, process=NodeId("process")))
        for digest in DIGESTS[:3]:
            desk.claim(Claim(digest, place(3), 1 << 20))
            desk.announce(Announcement(place(3), dropped=(digest,)))

    for _ in range(3):
        live_for_a_round()
    before = held()
    for _ in range(ROUNDS_OF_A_MONTH):
        live_for_a_round()
    assert held() - before < 2 * MIB / 8
    assert len(desk) == len(DIGESTS)


@pytest.mark.usefixtures("traced")
def test_made_up_places_and_zones_of_one_host_are_bounded() -> None:
    clock = Clock()
    desk = IndexState(NodeId("desk"), clock)
    desk.announce(Announcement(place(1), held=DIGESTS))
    before = held()
    for number in range(2_000):
        clock.now += 0.01
        made_up = place(2, port=1 + number, zone=f"zone-{number}")
        desk.claim(Claim(DIGESTS[number % 50], made_up, number))
        desk.announce(Announcement(made_up, arriving=DIGESTS[:10], process=NodeId(f"p{number}")))
    assert held() - before < 2 * MIB
    verdict = desk.claim(Claim(DIGESTS[0], place(3), is_question=True))
    assert place(1).address in verdict.sources


@pytest.mark.usefixtures("traced")
def test_made_up_content_of_one_host_does_not_crowd_out_that_of_others() -> None:
    clock = Clock()
    desk = IndexState(NodeId("desk"), clock, quotas=Quotas(spots=3000, spots_of_node=1000))
    desk.announce(Announcement(place(1), held=DIGESTS))
    before = held()
    for number in range(70):
        digests = [Digest.of(f"{number} {index}".encode()) for index in range(100)]
        desk.announce(Announcement(place(2, port=1 + number % 64), held=digests))
    assert held() - before < 3 * MIB
    assert len(desk) == 1000 + len(DIGESTS)
    assert all(desk.claim(Claim(digest, place(3), is_question=True)).sources for digest in DIGESTS)


# Who may speak for whom.


class Names:
    """A resolver that knows these, and counts."""

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "."): address for name, address in known.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.known:
            raise OSError("no such host")
        return [self.known[host]]


def speakers(*hosts: str, names: Names | None = None, clock: Clock | None = None) -> Speakers:
    discovered = frozenset(Address(host, 3173) for host in hosts)
    return Speakers(lambda: discovered, clock or Clock(), look_up=names or Names())


async def test_who_calls_from_the_host_speaks_for_it_and_nobody_else_does() -> None:
    they = speakers("10.0.0.1", "10.0.0.2")
    assert await they.may_speak(Requester("10.0.0.1"), "10.0.0.1")
    assert await they.may_speak(Requester("::ffff:10.0.0.1"), "10.0.0.1")
    assert not await they.may_speak(Requester("10.0.0.1"), "10.0.0.2")
    assert not await they.may_speak(Requester("10.0.0.1"), "10.0.0.3"), "not even for one that is no member"
    assert not await they.may_speak(Requester("10.0.0.1"), "node.example")


async def test_a_name_speaks_if_it_stands_for_the_address_and_only_members_are_looked_up() -> None:
    names = Names(node1_lan="10.0.0.1", node2_lan="10.0.0.2")
    they = speakers("node1.lan", "node2.lan", names=names)
    assert await they.may_speak(Requester("10.0.0.1"), "node1.lan")
    assert not await they.may_speak(Requester("10.0.0.1"), "node2.lan")
    assert not await they.may_speak(Requester("10.0.0.1"), "evil.example")
    await they.may_speak(Requester("10.0.0.1"), "node1.lan")
    assert names.asked == ["node1.lan", "node2.lan"]


async def test_a_node_with_several_addresses_is_believed_until_somebody_calls_from_the_one_it_is_known_by() -> None:
    clock = Clock()
    they = speakers("10.0.0.1", "10.0.0.2", "10.0.0.3", clock=clock)
    assert await they.may_speak(Requester("192.168.0.1"), "10.0.0.1"), "its other address"
    assert not await they.may_speak(Requester("192.168.0.1"), "10.0.0.2"), "it is one node"
    assert not await they.may_speak(Requester("192.168.0.9"), "10.0.0.1"), "and nobody else is that node"
    assert not await they.may_speak(Requester("10.0.0.3"), "10.0.0.2"), "a member is known by its address"
    assert await they.may_speak(Requester("10.0.0.1"), "10.0.0.1")
    assert not await they.may_speak(Requester("192.168.0.1"), "10.0.0.1")
    clock.now = WAVE_SECONDS + 1
    assert await they.may_speak(Requester("192.168.0.1"), "10.0.0.1")
