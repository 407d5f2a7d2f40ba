"""Messages and values: everything that comes in is checked here, once.

Requests raise OciError when they are not valid, replies raise PeerGarbled.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from registryd.cluster.contract.names import MAX_NAMED_TARGETS
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer, Resolution
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.rpc import limits
from registryd.content.growing import GrowingContent
from registryd.content.sought import Sought, Standing
from registryd.content.source import Content, NamedContent
from registryd.oci.descriptor import Descriptor, is_media_type
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import Repository
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE: Final = "registryd.v1.Cluster"
DIAGNOSIS: Final = "registryd.v1.Diagnosis"

M = TypeVar("M", bound=Message)

_STANDINGS: Final = {
    Standing.REPOSITORY: pb.REPOSITORY,
    Standing.REGISTRY: pb.REGISTRY,
    Standing.ANYONES: pb.ANYONES,
}
# Without what an older version says, which is nothing, and what a newer one may say.
_OF_MESSAGES: Final = {message: standing for standing, message in _STANDINGS.items()}
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{0,64}", re.ASCII)


class RequestInvalid(OciError):
    """Bytes that are not the message they should be."""


# Of ReadReply's field, its number and that it has a length (protobuf.dev, "Encoding"); and of a varint's bytes but the
# last, the highest bit.
_READ_REPLY_DATA: Final = bytes(((pb.ReadReply.DATA_FIELD_NUMBER << 3) | 2,))
_VARINT_MORE: Final = 0x80


def parse_request(kind: type[M], raw: bytes) -> M:
    """Decode a request; raises RequestInvalid."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise RequestInvalid(f"not a {kind.DESCRIPTOR.name}") from error


def parse_reply(kind: type[M], raw: bytes) -> M:
    """Decode a reply; raises PeerGarbled."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise PeerGarbled(f"not a {kind.DESCRIPTOR.name}") from error


def read_reply(data: memoryview) -> bytes:
    """A ReadReply with these bytes, in the wire's form.

    protobuf copies them twice, and all copies stay until the receiver takes the message: 256 KiB each.
    """
    length, varint = len(data), bytearray()
    while length >= _VARINT_MORE:
        varint.append(length % _VARINT_MORE | _VARINT_MORE)
        length //= _VARINT_MORE
    return b"".join((_READ_REPLY_DATA, varint, bytes((length,)), data))


def node_message(node: Node) -> pb.Node:
    return pb.Node(id=str(node.id), content_port=node.content_port)


def node_value(message: pb.Node) -> Node:
    try:
        return _node(message.id, message.content_port)
    except ValueError as error:
        raise PeerGarbled(str(error)) from error


# Every answer comes with its node, and each node says the same in all of its answers.
@lru_cache(maxsize=256)
def _node(text: str, content_port: int) -> Node:
    return Node(NodeId(text), content_port)


def sought_message(sought: Sought) -> str:
    """The name that it is wanted for."""
    return str(sought.repository or "")


def sought_value(digest: str, repository: str, stripe: int = 0) -> Sought:
    """`stripe` as messages have it."""
    name = _repository(repository) if repository else None
    return Sought(Digest.parse(digest), name, stripe=stripe_value(stripe))


def stripe_message(stripe: int | None) -> int:
    """The stripe as messages have it: from 1 on, and 0 for all of the content."""
    return 0 if stripe is None else stripe + 1


def stripe_value(number: int) -> int | None:
    if number > STRIPES:
        raise RequestInvalid(f"there is no stripe {number}")
    return number - 1 if number else None


# A node pulls some images at a time.
_repository: Final = lru_cache(maxsize=1024)(Repository.parse)


def find_reply(  # noqa: PLR0913 - what a reply has, by name
    node: Node,
    content: Content | None,
    *,
    busy: bool,
    ticket: str = "",
    is_not_for_name: bool = False,
    uploads: int = 0,
    is_receiving: bool = False,
) -> pb.FindReply:
    reply = pb.FindReply(
        node=node_message(node),
        busy=busy,
        ticket=ticket,
        is_not_for_name=is_not_for_name,
        uploads=uploads,
        is_receiving=is_receiving,
    )
    if content is not None:
        reply.content.CopyFrom(_content_message(content))
        reply.standing = _STANDINGS[content.standing] if content.standing else pb.UNSAID
    return reply


def finding(reply: pb.FindReply, digest: Digest) -> FindAnswer:
    content = _content(reply.content, digest) if reply.HasField("content") else None
    if content is not None:
        content = replace(content, standing=_OF_MESSAGES.get(reply.standing))
    # The text becomes the value of a header.
    if not _TICKET.fullmatch(reply.ticket):
        raise PeerGarbled("what it sent is no ticket")
    return FindAnswer(
        node_value(reply.node),
        content,
        reply.busy,
        reply.ticket,
        reply.is_not_for_name,
        reply.uploads,
        reply.is_receiving,
    )


def resolve_reply(node: Node, known: Sequence[NamedContent], *, is_settled: bool = False) -> pb.ResolveReply:
    newest = sorted(known, key=lambda named: named.seen_at, reverse=True)[:MAX_NAMED_TARGETS]
    targets = [named_message(named) for named in newest]
    return pb.ResolveReply(node=node_message(node), targets=targets, is_settled=is_settled)


def resolution(reply: pb.ResolveReply) -> Resolution:
    if len(reply.targets) > MAX_NAMED_TARGETS:
        raise PeerGarbled(f"{len(reply.targets)} targets for one name")
    known = tuple(named_value(target) for target in reply.targets)
    return Resolution(node_value(reply.node), known, reply.is_settled)


def _content_message(content: Content) -> pb.Content:
    message = pb.Content(size=content.size, media_type=content.media_type or "")
    if content.is_growing:
        message.available, message.withheld = content.available, content.received - content.available
        message.held_up = content.is_held_up
    return message


def _content(message: pb.Content, digest: Digest) -> Content:
    if message.size > limits.MAX_SIZE:
        raise PeerGarbled(f"{message.size} bytes cannot be")
    if message.media_type and not is_media_type(message.media_type):
        raise PeerGarbled(f"{message.media_type[:100]!r} is not a media type")
    media_type = message.media_type or None
    if not message.HasField("available"):
        return Content(digest, message.size, media_type)
    if message.available + message.withheld > message.size:
        raise PeerGarbled(f"{message.available + message.withheld} of {message.size} bytes cannot be")
    return GrowingContent(digest, message.size, media_type, message.available, message.withheld, message.held_up)


def named_message(named: NamedContent) -> pb.NamedContent:
    target = named.target
    return pb.NamedContent(
        digest=str(target.digest), size=target.size, media_type=target.media_type, seen_at=named.seen_at
    )


def named_value(message: pb.NamedContent) -> NamedContent:
    if message.size > limits.MAX_SIZE or not math.isfinite(message.seen_at):
        raise PeerGarbled("a name's target has an impossible size or time")
    try:
        target = Descriptor(message.media_type, Digest.parse(message.digest), message.size)
    except OciError as error:
        raise PeerGarbled(f"a name's target is not valid: {error}") from error
    # No time may be in the future: else the newest answer would be that of a liar, or of a node whose clock is ahead.
    return NamedContent(target, min(message.seen_at, time.time()))
