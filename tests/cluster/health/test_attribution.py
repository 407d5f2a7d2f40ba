"""Who gave wrong content is told so, and not asked for it again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.scope import open_scope
from registryd.cluster.errors import ContentCorrupt, PeerDeclined
from registryd.cluster.fetch.promised_sizes import PromisedSizes
from registryd.cluster.health.attribution import DeliveryAttribution
from registryd.cluster.health.penalties import PeerPenalties
from registryd.cluster.members.offer import Offer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.content.asker import Asker, asked_by
from registryd.content.growing import GrowingContent
from registryd.content.source import Content, ContentNotFound, ContentUnavailable
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.oci.descriptor import OCI_MANIFEST, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.manifest import Manifest
from registryd.oci.ranges import Span
from tests.cluster.conftest import until
from tests.fakes.entitled import given, sought
from tests.fakes.images import OCI_LAYER, sample_bytes
from tests.fakes.peers import LOOPBACK, FakePeer
from tests.fakes.sinks import FakeSink
from tests.fakes.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.conftest import Lab

LARGE = sample_bytes(3 * 1024 * 1024)
DIGEST = Digest.of(LARGE)
ELSEWHERE = Address("192.0.2.1", 3173)


@asynccontextmanager
async def listening(store: MemorySource, doubts: list[Digest]) -> AsyncIterator[FakePeer]:
    """A peer that keeps in mind what it is told."""
    peer = FakePeer(LOOPBACK)
    service = ClusterService(peer.node, given(store), hear_doubt=doubts.append)
    async with serve_peers(LOOPBACK, service, credentials=NoCredentials()) as port:
        yield FakePeer(Address(LOOPBACK.host, port), peer.node)


def corrupt() -> MemorySource:
    store = MemorySource()
    store.add(DIGEST, bytes(len(LARGE)))
    return store


async def test_the_giver_of_wrong_content_is_told_and_not_asked_again(lab: Lab) -> None:
    doubts: list[Digest] = []
    node = await lab.node(await lab.start(listening(corrupt(), doubts)))
    opened = await node.source.open(sought(DIGEST), Span.whole)
    await opened.body.send_to(FakeSink())
    await opened.body.aclose()
    assert node.source.blame.await_verdict(DIGEST)

    node.source.blame.thrown_away(DIGEST)
    await until(lambda: doubts == [DIGEST])
    with pytest.raises(ContentUnavailable):
        await node.source.open(sought(DIGEST), Span.whole)
    assert not node.source.blame.await_verdict(DIGEST)


class Blamed:
    """Remembers who was blamed, and whether that was certain."""

    def __init__(self) -> None:
        self.members: list[tuple[str, bool]] = []

    def blame(self, offer: Offer, *, is_certain: bool) -> None:
        self.members.append((str(offer.member.address), is_certain))


def offer_of(member: str, number: int = 1) -> Offer:
    content = Content(Digest.of(number.to_bytes(2, "big")), 1 << 30, None)
    node = SimpleNamespace(address=member, doubt=lambda _: asyncio.sleep(0))
    return Offer(cast("Any", node), sought(content.digest), content, None, busy=False)


async def test_only_the_latest_thousand_contents_have_givers() -> None:
    blamed = Blamed()
    async with open_scope() as scope:
        givers = DeliveryAttribution(blamed, scope)
        for number in range(1001):
            givers.gave(offer_of("first", number), from_start=True)
        assert not givers.await_verdict(offer_of("", 0).content.digest)
        # The oldest that is left: who goes on with it does not make the agent forget who began it.
        givers.gave(offer_of("second"), from_start=False)
        givers.thrown_away(offer_of("").content.digest)
    assert blamed.members == [("first", False), ("second", False)]


@pytest.mark.parametrize("from_start", [True, False])
async def test_only_who_gave_all_of_it_is_surely_to_blame(*, from_start: bool) -> None:
    """The agent may have been started anew since the first byte, or that came from another mirror."""
    blamed = Blamed()
    async with open_scope() as scope:
        givers = DeliveryAttribution(blamed, scope)
        for again in (from_start, False):
            givers.gave(offer_of("only"), from_start=again)
        givers.thrown_away(offer_of("").content.digest)
    assert blamed.members == [("only", from_start)]


async def test_who_gives_to_another_client_takes_no_blame_from_who_gives_to_containerd() -> None:
    """curl on the same node asks for the beginning of a layer that containerd is getting from a liar."""
    blamed = Blamed()
    async with open_scope() as scope:
        givers = DeliveryAttribution(blamed, scope)
        with asked_by(Asker(waits=True)):
            givers.gave(offer_of("liar"), from_start=True)
        with asked_by(Asker()):
            for from_start in (True, False):
                givers.gave(offer_of("honest"), from_start=from_start)
        givers.thrown_away(offer_of("").content.digest)
    assert blamed.members == [("liar", True)]


async def test_what_is_taken_in_ahead_of_any_client_has_a_giver() -> None:
    async with open_scope() as scope:
        givers = DeliveryAttribution(Blamed(), scope)
        with asked_by(Asker()):
            givers.gave(offer_of("first"), from_start=True)
        assert not givers.await_verdict(offer_of("").content.digest)
        givers.gave(offer_of("first"), from_start=True)
        assert givers.await_verdict(offer_of("").content.digest)


async def test_the_giver_of_right_content_is_asked_again(lab: Lab) -> None:
    doubts: list[Digest] = []
    node = await lab.node(await lab.start(listening(corrupt(), doubts)))
    for _ in range(2):
        opened = await node.source.open(sought(DIGEST), Span.whole)
        await opened.body.aclose()
        node.source.blame.kept(DIGEST)
    node.source.blame.thrown_away(DIGEST)
    assert doubts == []


async def test_a_peer_that_is_gone_need_not_be_told(lab: Lab) -> None:
    async with listening(corrupt(), []) as peer:
        node = await lab.node(peer)
        opened = await node.source.open(sought(DIGEST), Span.whole)
        await opened.body.aclose()
    node.source.blame.thrown_away(DIGEST)
    with pytest.raises(ContentUnavailable):
        await node.source.open(sought(DIGEST), Span.whole)


async def test_after_wrong_content_only_what_is_verified_is_taken(lab: Lab) -> None:
    blame = (await lab.node()).source.blame
    growing, whole = GrowingContent(DIGEST, len(LARGE), None, 5), Content(DIGEST, len(LARGE), None)
    blame.require_verified(growing)
    blame.thrown_away(DIGEST)
    blame.require_verified(whole)
    with pytest.raises(PeerDeclined, match="wrong lately"):
        blame.require_verified(growing)


# What is believed of sizes


def manifest(size: int) -> Manifest:
    return Manifest(OCI_MANIFEST, (Descriptor(OCI_LAYER, DIGEST, size),))


async def test_a_size_that_the_manifest_contradicts_is_not_believed() -> None:
    promised = PromisedSizes(None)
    promised.learn(manifest(len(LARGE)))
    await promised.require(Content(DIGEST, len(LARGE), None))
    with pytest.raises(ContentCorrupt):
        await promised.require(Content(DIGEST, len(LARGE) - 1, None))
    await promised.require(Content(Digest.of(b"unknown"), 5, None))


async def test_manifests_that_contradict_each_other_are_not_believed() -> None:
    promised = PromisedSizes(None)
    promised.learn(manifest(10))
    promised.learn(manifest(20))
    await promised.require(Content(DIGEST, 30, None))
    promised.learn(manifest(20))
    await promised.require(Content(DIGEST, 30, None))


async def test_the_size_of_what_is_being_received_here_is_known() -> None:
    promised = PromisedSizes(ReceivingLarge())
    with pytest.raises(ContentCorrupt):
        await promised.require(Content(DIGEST, len(LARGE) + 1, None))
    await promised.require(Content(DIGEST, len(LARGE), None))
    await promised.require(Content(Digest.of(b"another"), 1, None))


class ReceivingLarge:
    """A node whose containerd has begun an ingest."""

    async def arriving(self, digest: Digest) -> GrowingContent:
        if digest != DIGEST:
            raise ContentNotFound("containerd is not receiving it")
        return GrowingContent(digest, len(LARGE), None, 0)


# Who is avoided


@pytest.mark.looptime
async def test_three_failures_and_a_peer_is_left_alone_for_a_while() -> None:
    avoided, fresh = PeerPenalties(), Digest.of(b"fresh")
    for number in range(2):
        avoided.add(Digest.of(bytes([number])), ELSEWHERE, life=0)
    assert not avoided.has(fresh, ELSEWHERE, life=0)
    avoided.add(Digest.of(b"third"), ELSEWHERE, life=0)
    assert avoided.has(fresh, ELSEWHERE, life=0)
    assert not avoided.has(fresh, LOOPBACK, life=0)
    await asyncio.sleep(61)
    assert not avoided.has(fresh, ELSEWHERE, life=0)


@pytest.mark.looptime
async def test_who_failed_or_was_busy_is_forgiven_first_and_who_was_wrong_when_that_did_not_help() -> None:
    avoided, other = PeerPenalties(), Digest.of(b"other")
    for digest in (DIGEST, other, Digest.of(b"third")):
        avoided.add(digest, ELSEWHERE, life=0)
    avoided.spare(DIGEST, LOOPBACK)
    wrong = Address("10.0.0.9", 3173)
    avoided.blame(DIGEST, wrong)
    avoided.forgive(DIGEST)
    assert not avoided.has(DIGEST, ELSEWHERE, life=0)
    assert not avoided.has(DIGEST, LOOPBACK, life=0)
    assert avoided.has(DIGEST, wrong, life=0)
    assert avoided.has(other, ELSEWHERE, life=0), "that did not come again"
    assert avoided.has(Digest.of(b"fresh"), ELSEWHERE, life=0)
    avoided.add(DIGEST, ELSEWHERE, life=0)
    assert avoided.has(DIGEST, ELSEWHERE, life=0)
    avoided.forgive(DIGEST)
    assert not avoided.has(DIGEST, ELSEWHERE, life=0)
    assert not avoided.has(DIGEST, wrong, life=0)


@pytest.mark.looptime
async def test_the_only_one_that_has_anything_is_asked_again_whatever_it_seemed_to_give() -> None:
    """Its receiver's disk may have been full."""
    avoided, other = PeerPenalties(), Digest.of(b"other")
    for digest in (DIGEST, DIGEST, other):  # the first one twice: for half an hour
        avoided.blame(digest, ELSEWHERE, was_whole=True)
    manifest = Digest.of(b"manifest")
    assert all(avoided.has(digest, ELSEWHERE, life=0) for digest in (DIGEST, other, manifest))
    avoided.forgive(manifest)
    assert not avoided.has(manifest, ELSEWHERE, life=0)
    assert all(avoided.has(digest, ELSEWHERE, life=0) for digest in (DIGEST, other)), "these did not come again"
    avoided.forgive(DIGEST)
    assert not avoided.has(DIGEST, ELSEWHERE, life=0)
    avoided.blame(DIGEST, ELSEWHERE, was_whole=True)
    assert avoided.has(DIGEST, ELSEWHERE, life=0)


@pytest.mark.looptime
async def test_blame_lasts_longer_than_a_failure_and_not_for_ever() -> None:
    avoided = PeerPenalties()
    avoided.add(DIGEST, ELSEWHERE, life=0)
    avoided.blame(DIGEST, LOOPBACK)
    await asyncio.sleep(61)
    assert not avoided.has(DIGEST, ELSEWHERE, life=0)
    assert avoided.has(DIGEST, LOOPBACK, life=0)
    await asyncio.sleep(60)
    assert not avoided.has(DIGEST, LOOPBACK, life=0), "it has looked at its copy, and may be the only one"


@pytest.mark.looptime
async def test_who_gave_wrong_bytes_of_two_contents_is_asked_for_nothing_for_a_while() -> None:
    avoided, fresh = PeerPenalties(), Digest.of(b"fresh")
    for number in range(2):
        assert not avoided.has(fresh, ELSEWHERE, life=0)
        avoided.blame(Digest.of(bytes([number])), ELSEWHERE, was_whole=True)
        avoided.blame(Digest.of(bytes([number])), LOOPBACK, was_whole=False)  # it may have got them so itself
    assert avoided.has(fresh, ELSEWHERE, life=0)
    assert not avoided.has(fresh, LOOPBACK, life=0)
    await asyncio.sleep(120)
    assert not avoided.has(fresh, ELSEWHERE, life=0)


@pytest.mark.looptime
async def test_who_says_that_it_is_receiving_may_be_wrong_of_four() -> None:
    avoided, fresh = PeerPenalties(), Digest.of(b"fresh")
    for number in range(4):
        assert not avoided.has(fresh, ELSEWHERE, life=0)
        avoided.blame(Digest.of(bytes([number])), ELSEWHERE, was_whole=False)
    assert avoided.has(fresh, ELSEWHERE, life=0)


@pytest.mark.looptime
async def test_who_is_blamed_twice_is_not_asked_for_half_an_hour() -> None:
    avoided = PeerPenalties()
    avoided.blame(DIGEST, LOOPBACK)
    await asyncio.sleep(121)
    avoided.blame(DIGEST, LOOPBACK)
    await asyncio.sleep(1799)
    assert avoided.has(DIGEST, LOOPBACK, life=0)
    await asyncio.sleep(1)
    assert not avoided.has(DIGEST, LOOPBACK, life=0)


@pytest.mark.looptime
async def test_one_of_several_is_left_alone_for_a_moment_only() -> None:
    avoided = PeerPenalties()
    for _ in range(3):
        avoided.blame(DIGEST, ELSEWHERE, is_certain=False)
    assert avoided.has(DIGEST, ELSEWHERE, life=0)
    await asyncio.sleep(20)
    assert not avoided.has(DIGEST, ELSEWHERE, life=0)
