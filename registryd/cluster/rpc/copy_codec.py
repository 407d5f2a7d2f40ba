"""Offers of copies as messages: checked here, once."""

from __future__ import annotations

import math
from typing import Final

from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.codec import RequestInvalid
from registryd.content.keepable import KeptImage
from registryd.oci.digest import Digest
from registryd.oci.reference import parse_full_name
from registryd.pb.registryd.v1 import cluster_pb2 as pb

_ANSWERS: Final = {
    CopyAnswer.REFUSED: pb.REFUSED,
    CopyAnswer.TAKEN: pb.TAKEN,
    CopyAnswer.OUTDATED: pb.OUTDATED,
}
_OF_MESSAGES: Final = {message: answer for answer, message in _ANSWERS.items()}


def offer_message(offer: CopyOffer) -> pb.KeepRequest:
    image = offer.image
    return pb.KeepRequest(name=str(image.name), digest=str(image.digest), size=offer.size, seen_at=offer.seen_at)


def offer_value(request: pb.KeepRequest) -> CopyOffer:
    """Raises OciError."""
    if not 0 < request.size <= limits.MAX_SIZE or not math.isfinite(request.seen_at):
        raise RequestInvalid("an offer without a size, or of no time")
    image = KeptImage(parse_full_name(request.name), Digest.parse(request.digest))
    return CopyOffer(image, request.size, request.seen_at)


def answer_message(answer: CopyAnswer) -> pb.KeepReply:
    return pb.KeepReply(answer=_ANSWERS[answer])


def answer_value(reply: pb.KeepReply) -> CopyAnswer:
    """The answer; an unknown answer of a newer version counts as a no."""
    return _OF_MESSAGES.get(reply.answer, CopyAnswer.REFUSED)
