"""Whom a search asks and when, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.aio.racing import AllFailed
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerSilent
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.search import Waves, offers
from registryd.cluster.members.member import Member
from registryd.content.source import Content
from registryd.notation import Address
from registryd.observability.metrics import FindOutcome
from registryd.oci.digest import Digest
from registryd.transfer.errors import SourceBroken, SourceBusy, SourceCutOff
from tests.fakes.entitled import said, sought
from tests.fakes.index_nodes import nobody_coordinates
from tests.fakes.peers import FindRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.peer import Resolution, Wait
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName

pytestmark = pytest.mark.looptime

DIGEST = Digest.of(b"")
WAVES = Waves(first=2, patience=0.5)


class TimedPeer:
    """Answers after so many seconds: yes, no or never."""

    def __init__(self, answer: str, *, after: float = 0.1, content_port: int = 0) -> None:
        self.asked_at: float | None = None
        self.is_cancelled = False
        self.is_away = False
        self._answer = answer
        self._after = after
        self._content_port = content_port

    async def tell_slow(self, wanted: Sought) -> None:
        raise NotImplementedError

    async def find(self, wanted: Sought, wait: Wait | None = None) -> FindAnswer:
        self.asked_at = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(self._after)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self._answer == "silence":
            raise PeerSilent("silence")
        content = None if self._answer == "no" else said(Content(wanted.digest, 1, None))
        return FindAnswer(Node(NodeId.random(), self._content_port), content, busy=self._answer == "busy")

    async def hello(self) -> Node:
        if self.is_away:
            raise PeerSilent("silence")
        return Node(NodeId.random(), self._content_port)

    async def claim(self, claim: Claim) -> ClaimReply:
        raise NotImplementedError

    async def announce(self, announcement: Announcement) -> Receipt:
        raise NotImplementedError

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        raise NotImplementedError

    async def vouch(self, repository: Repository) -> bool:
        raise AssertionError("nobody asks")

    async def keep(self, offer: CopyOffer) -> CopyAnswer:
        raise AssertionError(f"nobody asks for {offer.image}")

    async def doubt(self, digest: Digest) -> None:
        raise NotImplementedError

    async def resolve(self, name: TaggedName) -> Resolution:
        raise NotImplementedError

    def read(self, wanted: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is held."""


def members(*peers: TimedPeer, on_doubt: Callable[[Member], None] = lambda _: None) -> list[Member]:
    own = NodeId("own")
    return [
        Member(Address("192.0.2.1", port), peer, own_id=own, on_change=lambda _: None, on_doubt=on_doubt)
        for port, peer in enumerate(peers, 1)
    ]


async def first(peers: list[TimedPeer]) -> Offer:
    async with aclosing(offers(members(*peers), sought(DIGEST), WAVES)) as found:
        return await anext(found)


async def test_a_hit_in_the_first_wave_spares_the_rest(looptime: object) -> None:
    peers = [TimedPeer("no"), TimedPeer("yes", after=0.2), TimedPeer("yes"), TimedPeer("yes")]
    assert (await first(peers)).member.address.port == 2
    assert [peer.asked_at is None for peer in peers] == [False, False, True, True]
    assert looptime == pytest.approx(0.2)


async def test_the_rest_is_asked_when_the_first_wave_said_no() -> None:
    peers = [TimedPeer("no"), TimedPeer("no", after=0.2), TimedPeer("yes"), TimedPeer("no")]
    await first(peers)
    assert peers[2].asked_at == pytest.approx(0.2)


async def test_the_rest_is_asked_when_the_first_wave_takes_long(looptime: object) -> None:
    peers = [TimedPeer("silence", after=10), TimedPeer("yes", after=5), TimedPeer("yes"), TimedPeer("no", after=9)]
    assert (await first(peers)).member.address.port == 3
    assert peers[2].asked_at == pytest.approx(0.5)
    assert [peer.is_cancelled for peer in peers] == [True, True, False, True]
    assert looptime == pytest.approx(0.6)


async def test_a_rest_that_is_small_is_asked_at_once() -> None:
    peers = [TimedPeer("no"), TimedPeer("no"), TimedPeer("yes")]
    await first(peers)
    assert peers[2].asked_at == 0


async def test_offers_come_as_they_arrive_the_busy_last() -> None:
    peers = [TimedPeer("busy"), TimedPeer("yes", after=0.2), TimedPeer("yes", after=0.1)]
    ports = [offer.member.address.port async for offer in offers(members(*peers), sought(DIGEST), Waves())]
    assert ports == [3, 2, 1]


async def test_the_door_is_where_the_peer_is() -> None:
    assert (await first([TimedPeer("yes", content_port=3174)])).door == Address("192.0.2.1", 3174)
    assert (await first([TimedPeer("yes")])).door is None


async def test_when_nobody_has_it_every_reason_is_kept() -> None:
    with pytest.raises(AllFailed) as caught:
        await first([TimedPeer("no"), TimedPeer("silence", after=3), TimedPeer("no")])
    assert len(caught.value.reasons) == 3


class FixedMembers:
    """Always the same ones, in the same order."""

    def __init__(self, *asked: TimedPeer | Member) -> None:
        self._members = [each if isinstance(each, Member) else members(each)[0] for each in asked]

    def available(self) -> list[Member]:
        return self._members


async def test_no_more_than_the_limit_are_asked() -> None:
    peers = [TimedPeer("no") for _ in range(5)]
    with pytest.raises(AllFailed):
        await anext(
            MemberLocator(FixedMembers(*peers), fanout_limit=3, coalescing=nobody_coordinates()).offers(sought(DIGEST))
        )
    assert [peer.asked_at is not None for peer in peers] == [True] * 3 + [False] * 2


async def test_who_failed_for_a_digest_is_asked_again_after_a_minute() -> None:
    locator = MemberLocator(FixedMembers(TimedPeer("yes")), fanout_limit=3, coalescing=nobody_coordinates())
    [offer] = [offer async for offer in locator.offers(sought(DIGEST))]
    locator.avoid(offer)
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))
    assert [offer async for offer in locator.offers(sought(Digest.of(b"other")))]
    await asyncio.sleep(60)
    assert [offer async for offer in locator.offers(sought(DIGEST))]


async def offered(doubted: list[Member]) -> tuple[MemberLocator, Offer]:
    """What one member offers; who is doubted is put into the list."""
    [member] = members(TimedPeer("yes"), on_doubt=doubted.append)
    member.answered()
    locator = MemberLocator(FixedMembers(member), fanout_limit=3, coalescing=nobody_coordinates())
    [offer] = [offer async for offer in locator.offers(sought(DIGEST))]
    return locator, offer


async def test_who_is_cut_off_is_asked_again_at_once_and_looked_after() -> None:
    doubted: list[Member] = []
    locator, offer = await offered(doubted)
    locator.lost(offer, SourceCutOff("Connection timed out"))
    assert doubted == [offer.member]
    assert [offer async for offer in locator.offers(sought(DIGEST))]
    locator.lost(offer, SourceCutOff("Connection timed out"))  # again: it may drop what belongs to a connection
    assert doubted == [offer.member, offer.member]
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))


async def test_who_breaks_off_is_looked_after_and_not_asked() -> None:
    doubted: list[Member] = []
    locator, offer = await offered(doubted)
    locator.lost(offer, SourceBroken("slower than 5 bytes/s"))
    assert doubted == [offer.member]
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))


async def test_who_was_busy_for_some_seconds_is_not_asked_by_the_next_request() -> None:
    """containerd asks at once for the rest of what broke off, and is to get it from elsewhere."""
    locator = MemberLocator(FixedMembers(TimedPeer("yes")), fanout_limit=3, coalescing=nobody_coordinates())
    [offer] = [offer async for offer in locator.offers(sought(DIGEST))]
    locator.lost(offer, SourceBusy("it is busy", retry_after=None))
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))
    await asyncio.sleep(5)
    assert [offer async for offer in locator.offers(sought(DIGEST))]


async def test_who_was_away_and_is_back_has_failed_for_nothing() -> None:
    """Its connections broke because this node's own link was away, or the other's, or the other agent ended."""
    peer = TimedPeer("yes")
    [member] = members(peer)
    locator = MemberLocator(FixedMembers(member), fanout_limit=3, coalescing=nobody_coordinates())
    [offer] = [offer async for offer in locator.offers(sought(DIGEST))]
    for content in range(3):
        locator.avoid(replace(offer, content=replace(offer.content, digest=Digest.of(bytes([content])))))
    locator.avoid(offer)
    assert await member.probe()  # it was there all the time
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))
    peer.is_away = True
    assert not await member.probe()
    peer.is_away = False
    assert await member.probe()
    assert [offer async for offer in locator.offers(sought(DIGEST))]
    locator.avoid(offer)  # on purpose, perhaps: being away again changes nothing within a minute
    for peer.is_away in (True, False):
        await member.probe()
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))
    await asyncio.sleep(60)
    assert [offer async for offer in locator.offers(sought(DIGEST))]
    locator.blame(offer)
    with pytest.raises(AllFailed):
        await anext(locator.offers(sought(DIGEST)))


async def test_searches_are_measured_once_to_the_first_offer() -> None:
    record = FindRecord()
    locator = MemberLocator(
        FixedMembers(TimedPeer("yes"), TimedPeer("yes")),
        fanout_limit=3,
        coalescing=nobody_coordinates(),
        observer=record,
    )
    assert len([offer async for offer in locator.offers(sought(DIGEST))]) == 2
    assert record.outcomes == {FindOutcome.FOUND: 1}
