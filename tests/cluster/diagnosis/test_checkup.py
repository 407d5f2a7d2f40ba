"""Agents examine each other over real connections on loopback."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.diagnosis.checkup import Checkup
from registryd.cluster.diagnosis.client import asking
from registryd.cluster.diagnosis.contact import contact
from registryd.cluster.diagnosis.service import DiagnosisService
from registryd.cluster.diagnosis.values import Vitals
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.members.discovery.static import StaticDiscovery
from registryd.cluster.members.member import MemberState
from registryd.cluster.members.roster import Members
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.content.trial import TrialImage, Trials, TrialWords
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from tests.cluster.conftest import FIND_TIMEOUT, until
from tests.fakes.entitled import given
from tests.fakes.peers import LOOPBACK, good, silent, unreachable
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

WORDS = TrialWords("word", "amd64")


class Knows:
    """A discovery with these members."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses = set(addresses)
        self.content_ports: dict[Address, int] = {}

    def states(self) -> Mapping[Address, object]:
        return dict.fromkeys(self.addresses)

    async def content_port_of(self, address: Address) -> int | None:
        return self.content_ports.get(address)


class Patient:
    """A node that answers; its clock may be wrong."""

    def __init__(self, *, ahead: float = 0.0) -> None:
        self.node = Node(NodeId.random(), 0)
        self.knows = Knows()
        self.trials = Trials()
        self.ahead = ahead
        self.address = LOOPBACK

    async def vitals(self) -> Vitals:
        return Vitals(name="n2", version="1.0", time=time.time() + self.ahead, up_seconds=5, images=3, hits=2, zone="a")


@asynccontextmanager
async def running(patient: Patient) -> AsyncIterator[Patient]:
    service = DiagnosisService(
        patient.node, patient.knows, vitals=patient.vitals, trials=patient.trials, credentials=NoCredentials()
    )
    cluster = ClusterService(patient.node, given(MemorySource()))
    async with serve_peers(LOOPBACK, cluster, diagnosis=service, credentials=NoCredentials()) as port:
        patient.address = Address(LOOPBACK.host, port)
        yield patient


@asynccontextmanager
async def examining(*addresses: Address, own: Address = LOOPBACK) -> AsyncIterator[Checkup]:
    members = Members(
        NodeId.random(),
        partial(GrpcPeer, timeout=FIND_TIMEOUT, credentials=NoCredentials()),
        backoff=Backoff(first=0.2, longest=0.4, jitter=0),
        greet_limit=32,
    )
    async with open_scope() as scope:
        scope.serve(partial(members.run, StaticDiscovery(addresses)), name="members")
        await until(lambda: len(members.states()) == len(addresses))
        await until(lambda: MemberState.UNKNOWN not in members.states().values())
        yield Checkup(members, NoCredentials(), own_address=lambda: own, content_port=0)


async def test_a_member_says_how_it_is_and_how_far_its_clock_is_ahead() -> None:
    async with running(Patient(ahead=100)) as patient, examining(patient.address) as checkup:
        (found,) = await checkup.reports()
    assert found.report
    assert (found.report.vitals.name, found.report.vitals.images, found.report.vitals.hits) == ("n2", 3, 2)
    assert found.report.vitals.zone == "a"
    assert found.skew == pytest.approx(100, abs=1)


async def test_members_that_cannot_be_asked_in_time_are_told_all_the_same() -> None:
    async with silent() as mute, examining(mute.address) as checkup:
        for seconds, problem in ((0, "not asked, because there are so many"), (0.05, "no answer in time")):
            assert [found.problem for found in await checkup.reports(seconds=seconds)] == [problem]


async def test_those_that_fail_are_told_first_and_asked_last() -> None:
    with unreachable() as gone:
        async with running(Patient()) as patient, examining(patient.address, gone.address) as checkup:
            failing, well = await checkup.reports()
    assert (failing.address, well.address) == (gone.address, patient.address)
    assert well.report


async def test_a_member_that_does_not_know_us_says_so() -> None:
    async with running(Patient()) as patient, examining(patient.address) as checkup:
        (found,) = await checkup.examine()
    assert found.back is not None
    assert not found.back.is_known


async def test_a_member_that_cannot_reach_us_says_why() -> None:
    with unreachable() as us:
        async with running(Patient()) as patient, examining(patient.address, own=us.address) as checkup:
            patient.knows.addresses.add(us.address)
            (found,) = await checkup.examine()
    assert found.back is not None
    assert found.back.is_known
    assert "refused" in found.back.peers_problem


async def test_nobody_is_sent_to_connect_to_those_who_are_no_members() -> None:
    """Else a member could look at any port of any machine through another."""
    async with silent() as victim, running(Patient()) as patient:
        async with asking(patient.address, NoCredentials()) as asked:
            assert not (await asked.reach(victim.address, victim.address.port)).is_known
        assert victim.connections == 0


async def test_nobody_is_sent_to_another_port_of_a_member_than_its_own() -> None:
    async with silent() as victim, good(MemorySource()) as member, running(Patient()) as patient:
        patient.knows.addresses.add(member.address)
        patient.knows.content_ports[member.address] = 3174
        async with asking(patient.address, NoCredentials()) as asked:
            reached = await asked.reach(member.address, victim.address.port)
        assert "is not tried" in reached.content_problem
        assert not reached.peers_problem
        assert victim.connections == 0
        patient.knows.content_ports[member.address] = victim.address.port
        async with asking(patient.address, NoCredentials()) as asked:
            assert not (await asked.reach(member.address, victim.address.port)).content_problem
        assert victim.connections == 1


async def test_a_member_that_is_not_there() -> None:
    with unreachable() as gone:
        async with examining(gone.address) as checkup:
            (found,) = await checkup.examine()
    assert "refused" in found.peers_problem
    assert found.report is None


async def test_a_member_of_an_older_version_is_no_fault() -> None:
    async with good(MemorySource()) as old, examining(old.address) as checkup:
        (found,) = await checkup.reports()
    assert "too old to say" in found.problem


async def test_a_trial_image_is_held_by_a_member() -> None:
    async with running(Patient()) as patient, examining(patient.address) as checkup:
        assert await checkup.rehearse(WORDS) == patient.address
        assert patient.trials.get(TrialImage.of(WORDS).manifest)


async def test_members_do_not_hold_as_many_as_anyone_likes() -> None:
    async with running(Patient()) as patient, asking(patient.address, NoCredentials()) as asked:
        for number in range(4):
            await asked.rehearse(TrialWords(f"word-{number}", "amd64"))
        with pytest.raises(PeerDeclined, match="trials are going on"):
            await asked.rehearse(TrialWords("word-5", "amd64"))


@pytest.mark.parametrize("word", ["", "a b", "x" * 65, "../x"])
async def test_words_that_are_none_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not the words"):
        TrialWords(word, "amd64")


async def test_a_port_that_says_nothing_is_reached_as_far_as_anyone_can_tell() -> None:
    async with silent() as peer:
        assert not (await contact(peer.address, None)).problem
