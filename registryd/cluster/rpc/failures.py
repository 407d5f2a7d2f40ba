"""gRPC's failures as registryd's errors, from its statuses and from a few of its texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from registryd.cluster.errors import PeerDeclined, PeerFailed, PeerGarbled, PeerOutdated, PeerSilent, PeerUnreachable
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.observability.metrics import PeerTrouble

if TYPE_CHECKING:
    from registryd.notation import Address

# Statuses by which a peer says that it is well and this is a "no". All others mean that it is not well.
_DECLINED: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
)
_FAILED: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: PeerSilent,
    grpc.StatusCode.UNAVAILABLE: PeerUnreachable,
    grpc.StatusCode.CANCELLED: PeerUnreachable,
}
# Of what a peer sends as the reason; it ends up in our log.
_MAX_REASON: Final = 200
# gRPC 1.85's texts for a connection that could not be made; the first match counts. gRPC has no codes for these. Any
# other text is HUNG_UP.
_TOLD: Final = (
    ("CERTIFICATE_VERIFY_FAILED: certificate has expired", PeerTrouble.CLOCK),
    ("CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", PeerTrouble.CLOCK),
    ("CERTIFICATE_VERIFY_FAILED", PeerTrouble.OTHER_SECRET),
    ("BAD_SIGNATURE", PeerTrouble.OTHER_SECRET),
    ("WRONG_VERSION_NUMBER", PeerTrouble.NO_TLS),
    ("Connection refused", PeerTrouble.REFUSED),
    # The error for a host that is gone, once no host answers for its address any more (ARP): it means silence, too.
    ("No route to host", PeerTrouble.NO_ANSWER),
    ("Host is unreachable", PeerTrouble.NO_ANSWER),
    ("Network is unreachable", PeerTrouble.NO_ROUTE),
    ("errors resolving", PeerTrouble.NO_ADDRESS),
    ("imed out", PeerTrouble.NO_ANSWER),
    ("imeout", PeerTrouble.NO_ANSWER),
)


def reason_of(error: grpc.aio.AioRpcError, address: Address) -> ContentUnavailable:
    """Why a call did not give an answer. Texts of gRPC itself say little to operators, so they are left out."""
    status = error.code()
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return PeerOutdated(f"{address} runs a registryd that is too old to say")
    text = f"{address}: {(error.details() or '')[:_MAX_REASON]}"
    if status is grpc.StatusCode.NOT_FOUND:
        return ContentNotFound(text)
    if status in _DECLINED:
        return PeerDeclined(text)
    return _failure_of(status, error.details() or "", address)


def _failure_of(status: grpc.StatusCode, details: str, address: Address) -> PeerFailed:
    kind: type[PeerFailed] = _FAILED.get(status, PeerGarbled)
    if kind is not PeerUnreachable:
        return kind(f"{address}: {kind.usual}")
    trouble = next((trouble for told, trouble in _TOLD if told in details), PeerTrouble.HUNG_UP)
    return PeerUnreachable(f"{address}: {trouble}", trouble)
