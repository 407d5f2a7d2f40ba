"""Reports and requests as messages: everything that comes in is checked here, once.

Requests raise OciError when they are not valid, replies raise PeerGarbled.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.view import HOURS, KEY_BYTES, MOST_FLOWS, MOST_IMAGES, ClusterView, Flow, Hour
from registryd.cluster.diagnosis.values import NodeReport, Reached, Vitals
from registryd.cluster.errors import PeerGarbled
from registryd.cluster.rpc.codec import RequestInvalid, node_message, node_value
from registryd.content.trial import TrialWords
from registryd.notation import Address
from registryd.pb.registryd.v1 import diagnosis_pb2 as pb

if TYPE_CHECKING:
    from registryd.cluster.contract.node import Node

# Operators see the text in a table.
_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{0,253}", re.ASCII)
_VERSION: Final = re.compile(r"[A-Za-z0-9.+_-]{0,64}", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]{0,63}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9+._-]{1,12}:[0-9a-f]{0,12}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]{1,253}", re.ASCII)
_MAX_PROBLEM: Final = 200
_MAX_COUNT: Final = 2**63 - 1
_HIGHEST_PORT: Final = 65535
# The end of the year 9999, in milliseconds.
_END_OF_TIME: Final = 253_402_300_799_000


def report_message(node: Node, vitals: Vitals, view: ClusterView | None = None) -> pb.ReportReply:
    reply = pb.ReportReply(
        node=node_message(node),
        name=vitals.name[:253],
        version=vitals.version[:64],
        time_milliseconds=round(vitals.time * 1000),
        up_seconds=vitals.up_seconds,
        images=vitals.image_names,
        images_by_digest=vitals.images,
        transfers=vitals.transfers,
        received_bytes=vitals.received_bytes,
        sent_bytes=vitals.sent_bytes,
        requests=vitals.requests,
        hits=vitals.hits,
        spared_bytes=vitals.spared_bytes,
        elsewhere_bytes=vitals.elsewhere_bytes,
        problem=vitals.problem[:_MAX_PROBLEM],
        zone=vitals.zone,
    )
    if view is not None:
        _tell_view(reply, view)
    return reply


def _tell_view(reply: pb.ReportReply, view: ClusterView) -> None:
    reply.flows.extend(
        pb.Flow(label=flow.label, size=flow.size, sent=flow.sent, receiver=flow.receiver)
        for flow in view.flows[:MOST_FLOWS]
    )
    reply.images_by_key.extend(view.images[:MOST_IMAGES])
    reply.hours.extend(pb.Hour(spared_bytes=hour.spared, elsewhere_bytes=hour.elsewhere) for hour in view.hours[:HOURS])


def report_value(message: pb.ReportReply) -> NodeReport:
    counts = (
        message.up_seconds,
        message.images,
        message.images_by_digest,
        message.received_bytes,
        message.sent_bytes,
        message.requests,
    )
    if not (_NAME.fullmatch(message.name) and _VERSION.fullmatch(message.version)):
        raise PeerGarbled("its name or version is none")
    if not _ZONE.fullmatch(message.zone):
        raise PeerGarbled("its zone is none")
    if (
        max(*counts, message.hits, message.spared_bytes, message.elsewhere_bytes) > _MAX_COUNT
        or message.time_milliseconds > _END_OF_TIME
    ):
        raise PeerGarbled("it counts beyond all measure")
    vitals = Vitals(
        name=message.name,
        version=message.version,
        time=message.time_milliseconds / 1000,
        up_seconds=message.up_seconds,
        # A member of an older version counts names only.
        images=message.images_by_digest if message.HasField("images_by_digest") else message.images,
        image_names=message.images,
        transfers=message.transfers,
        received_bytes=message.received_bytes,
        sent_bytes=message.sent_bytes,
        requests=message.requests,
        hits=message.hits,
        spared_bytes=message.spared_bytes,
        elsewhere_bytes=message.elsewhere_bytes,
        problem=_line(message.problem),
        zone=message.zone,
    )
    return NodeReport(node_value(message.node), vitals, _view_value(message))


def _view_value(message: pb.ReportReply) -> ClusterView:
    """The text, cut to its limit: more is nonsense that no operator needs."""
    flows = [
        Flow(each.label, each.size, each.sent, each.receiver)
        for each in message.flows[:MOST_FLOWS]
        if _LABEL.fullmatch(each.label) and _HOST.fullmatch(each.receiver) and each.sent <= each.size <= _MAX_COUNT
    ]
    images = [key for key in message.images_by_key[:MOST_IMAGES] if len(key) == KEY_BYTES]
    hours = [
        Hour(each.spared_bytes, each.elsewhere_bytes)
        for each in message.hours[:HOURS]
        if max(each.spared_bytes, each.elsewhere_bytes) <= _MAX_COUNT
    ]
    return ClusterView(tuple(flows), tuple(images), tuple(hours))


def reached_message(reached: Reached) -> pb.ReachReply:
    return pb.ReachReply(
        is_known=reached.is_known,
        peers_problem=reached.peers_problem[:_MAX_PROBLEM],
        content_problem=reached.content_problem[:_MAX_PROBLEM],
    )


def reached_value(message: pb.ReachReply) -> Reached:
    return Reached(message.is_known, _line(message.peers_problem), _line(message.content_problem))


def requester_of(message: pb.ReachRequest, host: str) -> tuple[Address, Address | None]:
    """The addresses of the requester's gRPC and bytes door; `host` is the address from which it asks."""
    if message.content_port > _HIGHEST_PORT:
        raise RequestInvalid(f"{message.content_port} is not a port")
    try:
        address = Address(message.requester.host or host, message.requester.port)
    except ValueError as error:
        raise RequestInvalid(str(error)) from error
    return address, Address(address.host, message.content_port) if message.content_port else None


def words_of(message: pb.RehearseRequest) -> TrialWords:
    try:
        return TrialWords(message.word, message.architecture)
    except ValueError as error:
        raise RequestInvalid(str(error)) from error


def _line(text: str) -> str:
    """One short line without control characters: a peer's words about itself end up in tables and logs."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_PROBLEM])
