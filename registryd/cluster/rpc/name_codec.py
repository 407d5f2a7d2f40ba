"""Announcements of names as messages: everything that comes in is checked here, once. Raises OciError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.index import MAX_ANNOUNCED
from registryd.cluster.contract.names import NameAnnouncement
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.rpc.codec import RequestInvalid, named_message, named_value
from registryd.content.naming import Naming
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName
from registryd.pb.registryd.v1 import cluster_pb2 as pb

if TYPE_CHECKING:
    from registryd.identity.requester import Requester

# A name has 384 characters at most, its target's digest 135, its media type 255: 16 of the longest, with their keys,
# have 14 KB and fit into limits.MAX_REQUEST_BYTES.
MAX_NAMINGS: Final = 16
_KEY_BYTES: Final = 32


def name_announcement_message(announcement: NameAnnouncement) -> pb.AnnounceNamesRequest:
    return pb.AnnounceNamesRequest(
        port=announcement.holder.port,
        held=[_naming_message(key, naming) for key, naming in announcement.held.items()],
        dropped=[bytes.fromhex(key.encoded) for key in announcement.dropped],
        is_all=announcement.is_all,
    )


def name_announcement_value(message: pb.AnnounceNamesRequest, requester: Requester) -> NameAnnouncement:
    if len(message.held) > MAX_NAMINGS or len(message.dropped) > MAX_ANNOUNCED:
        raise RequestInvalid("an announcement of names with too much in it")
    try:
        holder = Address(requester.address, message.port)
    except ValueError as error:
        raise RequestInvalid(str(error)) from error
    held = {_key(naming.key): _naming(naming) for naming in message.held}
    return NameAnnouncement(holder, held, [_key(raw) for raw in message.dropped], message.is_all)


def _naming_message(key: Digest, naming: Naming) -> pb.Naming:
    return pb.Naming(name=str(naming.name), meaning=named_message(naming.meaning), key=bytes.fromhex(key.encoded))


def _naming(message: pb.Naming) -> Naming:
    try:
        return Naming(TaggedName.parse(message.name), named_value(message.meaning))
    except PeerGarbled as error:
        raise RequestInvalid(str(error)) from error


def _key(raw: bytes) -> Digest:
    if len(raw) != _KEY_BYTES:
        raise RequestInvalid(f"a key has {_KEY_BYTES} bytes, and not {len(raw)}")
    return Digest("sha256", raw.hex())
