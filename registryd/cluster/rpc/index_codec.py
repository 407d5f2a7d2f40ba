"""Claims and announcements as messages: everything that comes in is checked here, once.

Requests raise OciError when they are not valid, replies raise PeerGarbled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.cluster.contract.index import (
    MAX_ANNOUNCED,
    MAX_FAILED,
    MAX_UNHEARD,
    Announcement,
    Claim,
    ClaimReply,
    NodeLocation,
    Receipt,
)
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.index.tree import MOST_CHILDREN
from registryd.cluster.index.wave import SEVERAL
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.codec import RequestInvalid, stripe_message, stripe_value
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.identity.requester import Requester


def claim_message(claim: Claim) -> pb.ClaimRequest:
    return pb.ClaimRequest(
        digest=str(claim.digest),
        claimant=_place_message(claim.claimant),
        size=claim.size or 0,
        failed=[str(address) for address in claim.failed[-MAX_FAILED:]],
        is_question=claim.is_question,
        below=str(claim.below or ""),
        places=claim.places,
        slow=[str(address) for address in claim.slow[-MAX_FAILED:]],
        beside=str(claim.beside or ""),
        is_ahead=claim.is_ahead,
        is_pressed=claim.is_pressed,
        rank=claim.rank,
        unfit=[str(address) for address in claim.unfit[-MAX_FAILED:]],
        is_slow=claim.is_slow,
        takes_stripes=claim.takes_stripes,
        stripe=stripe_message(claim.stripe),
        is_late=claim.is_late,
    )


def claim_value(message: pb.ClaimRequest, requester: Requester) -> Claim:
    reports = max(len(message.failed), len(message.slow), len(message.unfit))
    if reports > MAX_FAILED or message.size > limits.MAX_SIZE or message.places > MOST_CHILDREN:
        raise RequestInvalid("a claim with too much in it")
    return Claim(
        Digest.parse(message.digest),
        _place(message.claimant, requester),
        message.size or None,
        tuple(_address(text) for text in message.failed),
        message.is_question,
        _address(message.below) if message.below else None,
        message.places if message.HasField("places") else None,
        tuple(_address(text) for text in message.slow),
        _address(message.beside) if message.beside else None,
        message.is_ahead,
        message.is_pressed,
        message.rank if message.HasField("rank") else None,
        tuple(_address(text) for text in message.unfit),
        message.is_slow,
        message.takes_stripes,
        stripe_value(message.stripe),
        message.is_late,
    )


def verdict_message(verdict: ClaimReply) -> pb.ClaimReply:
    sources = [str(address) for address in verdict.sources]
    return pb.ClaimReply(
        sources=sources,
        is_new=verdict.is_new,
        before=str(verdict.before or ""),
        is_below_missing=verdict.is_below_missing,
        view=verdict.view,
        unheard=[str(address) for address in verdict.unheard],
        is_whole=verdict.is_whole,
        rank=verdict.rank,
        stripes=[str(address) for address in verdict.stripes],
        idle=str(verdict.idle or ""),
    )


def verdict_value(message: pb.ClaimReply) -> ClaimReply:
    if len(message.sources) > SEVERAL or len(message.unheard) > MAX_UNHEARD:
        raise PeerGarbled(f"{len(message.sources)} sources and {len(message.unheard)} others at once")
    if len(message.stripes) not in {0, STRIPES}:
        raise PeerGarbled(f"sources for {len(message.stripes)} stripes")
    try:
        sources = tuple(_address(text) for text in message.sources)
        before = _address(message.before) if message.before else None
        unheard = tuple(_address(text) for text in message.unheard)
        return ClaimReply(
            sources,
            message.is_new,
            before,
            message.is_below_missing,
            message.view,
            unheard,
            message.is_whole,
            message.rank if message.HasField("rank") else None,
            tuple(_address(text) for text in message.stripes),
            _address(message.idle) if message.idle else None,
        )
    except RequestInvalid as error:
        raise PeerGarbled(str(error)) from error


def announcement_message(announcement: Announcement) -> pb.AnnounceRequest:
    return pb.AnnounceRequest(
        holder=_place_message(announcement.holder),
        held=_raw(announcement.held),
        dropped=_raw(announcement.dropped),
        is_all=announcement.is_all,
        arriving=_raw(announcement.arriving),
        process=str(announcement.process or ""),
        view=announcement.view,
        complete_at=str(announcement.complete_at or ""),
        gives_stripes=announcement.gives_stripes,
    )


def announcement_value(message: pb.AnnounceRequest, requester: Requester) -> Announcement:
    if len(message.held) + len(message.dropped) + len(message.arriving) > MAX_ANNOUNCED:
        raise RequestInvalid("an announcement with too much in it")
    return Announcement(
        _place(message.holder, requester),
        _digests(message.held),
        _digests(message.dropped),
        message.is_all,
        _digests(message.arriving),
        _process(message.process),
        message.view,
        _process(message.complete_at),
        message.gives_stripes,
    )


def receipt_message(receipt: Receipt) -> pb.AnnounceReply:
    return pb.AnnounceReply(id=str(receipt.by))


def receipt_value(message: pb.AnnounceReply) -> Receipt:
    try:
        return Receipt(NodeId(message.id))
    except ValueError as error:
        raise PeerGarbled(str(error)) from error


def _place_message(place: NodeLocation) -> pb.Place:
    return pb.Place(host=place.address.host, port=place.address.port, zone=place.zone)


def _place(message: pb.Place, requester: Requester) -> NodeLocation:
    try:
        return NodeLocation(Address(message.host or requester.address, message.port), message.zone)
    except ValueError as error:
        raise RequestInvalid(str(error)) from error


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise RequestInvalid(f"{text[:100]!r} is not an address") from error


def _process(text: str) -> NodeId | None:
    try:
        return NodeId(text) if text else None
    except ValueError as error:
        raise RequestInvalid(str(error)) from error


def _raw(digests: Iterable[Digest]) -> list[bytes]:
    return [bytes.fromhex(digest.encoded) for digest in digests]


def _digests(raw: Iterable[bytes]) -> tuple[Digest, ...]:
    try:
        return tuple(Digest.of_hash(data) for data in raw)
    except DigestInvalid:
        raise RequestInvalid("neither a sha256 nor a sha512") from None
