from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.cluster.contract.index import (
    MAX_ANNOUNCED,
    MAX_FAILED,
    MAX_UNHEARD,
    Announcement,
    Claim,
    ClaimReply,
    NodeLocation,
)
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import NameIndexState
from registryd.cluster.index.speakers import Speakers
from registryd.cluster.index.wave import SEVERAL
from registryd.cluster.rpc.codec import parse_reply, parse_request
from registryd.cluster.rpc.index_codec import (
    announcement_message,
    announcement_value,
    claim_message,
    claim_value,
    receipt_value,
    verdict_message,
    verdict_value,
)
from registryd.cluster.rpc.index_service import IndexService
from registryd.identity.requester import Requester
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.striping import STRIPES

REQUESTER = Requester("192.0.2.9")
PLACE = NodeLocation(Address("10.0.0.1", 3173), "zone-a")
DIGEST = Digest.of(b"")
EIGHT = tuple(Address("10.0.0.2", port) for port in range(1, STRIPES + 1))


def test_values_survive_the_wire() -> None:
    claim = Claim(DIGEST, PLACE, 5, (Address("::1", 1), Address("node.example", 2)), is_question=True)
    assert claim_value(claim_message(claim), REQUESTER) == claim
    placed = Claim(DIGEST, PLACE, below=Address("10.0.0.3", 1), places=0)
    assert claim_value(claim_message(placed), REQUESTER) == placed
    slow = Claim(DIGEST, PLACE, slow=(Address("10.0.0.3", 1),), is_question=True, beside=Address("10.0.0.4", 2))
    assert claim_value(claim_message(slow), REQUESTER) == slow
    of_stripe = Claim(DIGEST, PLACE, is_question=True, beside=Address("10.0.0.4", 2), stripe=0)
    assert claim_value(claim_message(of_stripe), REQUESTER) == of_stripe
    unfit = Claim(DIGEST, PLACE, unfit=(Address("10.0.0.3", 1), Address("10.0.0.4", 2)))
    assert claim_value(claim_message(unfit), REQUESTER) == unfit
    known_slow = Claim(DIGEST, PLACE, is_slow=True)
    assert claim_value(claim_message(known_slow), REQUESTER) == known_slow
    striped = Claim(DIGEST, PLACE, 5, takes_stripes=True)
    assert claim_value(claim_message(striped), REQUESTER) == striped
    late = Claim(DIGEST, PLACE, slow=(Address("10.0.0.3", 1),), stripe=3, is_late=True)
    assert claim_value(claim_message(late), REQUESTER) == late
    for stripe in range(STRIPES):
        of_one = Claim(DIGEST, PLACE, failed=(Address("10.0.0.3", 1),), stripe=stripe)
        assert claim_value(claim_message(of_one), REQUESTER) == of_one
    announcement = Announcement(PLACE, (DIGEST, Digest.of(b"", algorithm="sha512")), (Digest.of(b"x"),), is_all=True)
    assert announcement_value(announcement_message(announcement), REQUESTER) == announcement
    statement = Announcement(
        PLACE, arriving=(DIGEST,), process=NodeId("one"), view=2**64 - 1, complete_at=NodeId("another")
    )
    assert announcement_value(announcement_message(statement), REQUESTER) == statement
    verdict = ClaimReply((Address("10.0.0.2", 1),), is_new=True, before=Address("10.0.0.3", 1), is_below_missing=True)
    assert verdict_value(verdict_message(verdict)) == verdict
    whole = ClaimReply((Address("10.0.0.2", 1),), is_whole=True)
    assert verdict_value(verdict_message(whole)) == whole
    beside_idle = ClaimReply((Address("10.0.0.2", 1), Address("10.0.0.3", 1)), idle=Address("10.0.0.3", 1))
    assert verdict_value(verdict_message(beside_idle)) == beside_idle
    in_stripes = ClaimReply((Address("10.0.0.2", 1),), stripes=EIGHT)
    assert verdict_value(verdict_message(in_stripes)) == in_stripes
    nobody = ClaimReply(view=7, unheard=(Address("10.0.0.4", 1), Address("::1", 2)))
    assert verdict_value(verdict_message(nobody)) == nobody


def test_what_older_versions_say_promises_nothing() -> None:
    announcement = announcement_value(pb.AnnounceRequest(holder=pb.Place(host="h", port=1)), REQUESTER)
    assert (announcement.process, announcement.view, announcement.complete_at) == (None, 0, None)
    assert verdict_value(pb.ClaimReply()).view == 0
    reply = verdict_value(pb.ClaimReply(sources=["10.0.0.1:1"]))
    assert (reply.stripes, reply.idle) == ((), None)
    claim = claim_value(pb.ClaimRequest(digest=str(DIGEST), claimant=pb.Place(host="h", port=1)), REQUESTER)
    assert (claim.takes_stripes, claim.stripe, claim.is_late) == (False, None, False)
    assert not announcement.gives_stripes


def test_who_does_not_know_its_address_is_where_it_asks_from() -> None:
    message = claim_message(Claim(DIGEST, PLACE))
    message.claimant.host = ""
    assert claim_value(message, REQUESTER).claimant.address == Address("192.0.2.9", 3173)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:short"},
        {"size": 2**63},
        {"failed": ["nonsense"]},
        {"below": "nonsense"},
        {"places": 17},
        {"failed": ["10.0.0.1:1"] * (MAX_FAILED + 1)},
        {"slow": ["nonsense"]},
        {"slow": ["10.0.0.1:1"] * (MAX_FAILED + 1)},
        {"unfit": ["nonsense"]},
        {"unfit": ["10.0.0.1:1"] * (MAX_FAILED + 1)},
        {"beside": "nonsense"},
        {"stripe": STRIPES + 1},
        {"stripe": 2**32 - 1},
        {"claimant": pb.Place(host="bad host", port=1)},
        {"claimant": pb.Place(host="10.0.0.1", port=70000)},
        {"claimant": pb.Place(host="10.0.0.1", port=1, zone="z" * 64)},
    ],
)
def test_claims_that_are_not_valid_are_refused(change: dict[str, object]) -> None:
    message = claim_message(Claim(DIGEST, PLACE))
    message.MergeFrom(pb.ClaimRequest(**change))  # type: ignore[arg-type]
    with pytest.raises(OciError):
        claim_value(message, REQUESTER)


def test_announcements_that_are_not_valid_are_refused() -> None:
    many = [b"x" * 32] * (MAX_ANNOUNCED // 3 + 1)
    for change in (
        {"held": [b"short"]},
        {"arriving": [b"short"]},
        {"held": many * 3},
        {"held": many, "dropped": many, "arriving": many},
        {"process": "not an id!"},
        {"complete_at": "x" * 65},
    ):
        message = pb.AnnounceRequest(holder=pb.Place(host="h", port=1))
        message.MergeFrom(pb.AnnounceRequest(**change))
        with pytest.raises(OciError):
            announcement_value(message, REQUESTER)


def test_replies_that_are_not_valid_are_a_failed_peer() -> None:
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(sources=["nonsense"]))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(sources=["10.0.0.1:1"] * (SEVERAL + 1)))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(before="nonsense"))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(idle="nonsense"))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(view=1, unheard=["nonsense"]))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(view=1, unheard=["10.0.0.1:1"] * (MAX_UNHEARD + 1)))
    for count in (1, STRIPES - 1, STRIPES + 1, 1000):
        with pytest.raises(PeerGarbled, match=f"sources for {count} stripes"):
            verdict_value(pb.ClaimReply(sources=["10.0.0.1:1"], stripes=["10.0.0.1:1"] * count))
    with pytest.raises(PeerGarbled):
        verdict_value(pb.ClaimReply(stripes=[*map(str, EIGHT[1:]), "nonsense"]))
    with pytest.raises(PeerGarbled):
        receipt_value(pb.AnnounceReply(id="not an id!"))


@given(st.binary(max_size=300))
async def test_hostile_bytes_are_refused_and_leave_nothing(raw: bytes) -> None:
    desk = IndexState(NodeId("desk"), lambda: 0.0)
    service = IndexService(desk, NameIndexState(NodeId("desk"), lambda: 0.0), Speakers(frozenset, lambda: 0.0))
    try:
        await service.claim(parse_request(pb.ClaimRequest, raw), REQUESTER)
        await service.announce(parse_request(pb.AnnounceRequest, raw), REQUESTER)
    except OciError:
        assert len(desk) <= 1
    for kind, value in ((pb.ClaimReply, verdict_value), (pb.AnnounceReply, receipt_value)):
        with suppress(PeerGarbled):
            value(parse_reply(kind, raw))  # type: ignore[arg-type]


_PORTS = st.integers(1, 12)
_REFUSED = st.lists(_PORTS, max_size=4)


@given(
    st.lists(st.tuples(_PORTS, _REFUSED, st.sampled_from(["", "a", "b"]), st.booleans(), _PORTS), max_size=60),
    st.sampled_from([0, 1000]),
)
async def test_whatever_members_claim_and_announce_nobody_is_named_to_himself(
    history: list[tuple[int, list[int], str, bool, int]], members: int
) -> None:
    desk = IndexState(NodeId("desk"), lambda: 0.0, count_members=lambda: members)
    for port, failed, zone, holds, below in history:
        place = NodeLocation(Address("10.0.0.1", port), zone)
        if holds:
            desk.announce(Announcement(place, held=(DIGEST,)))
            continue
        refused = tuple(Address("10.0.0.1", number) for number in failed)
        preferred = Address("10.0.0.1", below)
        claim = Claim(DIGEST, place, 5 << 20, refused, below=preferred, places=below % 4)
        sources = desk.claim(claim).sources
        assert place.address not in sources
        assert not set(sources) & set(refused)
