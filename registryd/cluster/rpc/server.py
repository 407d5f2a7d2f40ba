"""The door at which peers ask: gRPC around `ClusterService`.

Requests arrive as bytes and are decoded by ourselves: gRPC would answer what cannot be decoded with a traceback in
the log and INTERNAL. Their one message is read by ourselves, too: gRPC would let calls that never send it have all
places, and we would not hear of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import grpc

from registryd.aio.unexpected import note_unexpected
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.callers import Callers, CallRefused
from registryd.cluster.rpc.codec import DIAGNOSIS, SERVICE, RequestInvalid, parse_request, read_reply
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.identity.requester import Requester
from registryd.oci.errors import OciError, RangeInvalid
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.pb.registryd.v1 import diagnosis_pb2
from registryd.transfer.errors import SinkClosed, SourceBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

    from registryd.cluster.rpc.callers import Call
    from registryd.cluster.rpc.index_service import IndexService
    from registryd.cluster.rpc.service import ClusterService
    from registryd.identity.credentials import ServerCredentials
    from registryd.notation import Address

    OnContact = Callable[[Requester], None]
    Context = grpc.aio.ServicerContext[bytes, Message]
    ReadContext = grpc.aio.ServicerContext[bytes, memoryview]

M = TypeVar("M", bound="Message")

# The first that fits; subclasses stand before what they are made of.
_STATUS: Final[dict[type[Exception], grpc.StatusCode]] = {
    RangeInvalid: grpc.StatusCode.OUT_OF_RANGE,
    OciError: grpc.StatusCode.INVALID_ARGUMENT,
    ContentNotFound: grpc.StatusCode.NOT_FOUND,
    ContentUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    SourceBroken: grpc.StatusCode.DATA_LOSS,
    SinkClosed: grpc.StatusCode.CANCELLED,
    CallRefused: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

_requester: Final = lru_cache(maxsize=1024)(Requester)

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second agent on the same port is an error, not half of the requests
    ("grpc.max_receive_message_length", limits.MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", limits.MAX_METADATA_BYTES),
    ("grpc.server_handshake_timeout_ms", limits.HANDSHAKE_MILLISECONDS),
    # A member whose secret was taken away loses its connections within this time.
    ("grpc.max_connection_age_ms", limits.CONNECTION_AGE_MILLISECONDS),
    ("grpc.max_connection_age_grace_ms", limits.CONNECTION_GRACE_MILLISECONDS),
    ("grpc.max_concurrent_streams", limits.MAX_STREAMS_PER_CONNECTION),
    ("grpc.server.max_pending_requests", limits.MAX_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", 2 * limits.MAX_PENDING),
    ("grpc.http2.bdp_probe", 0),  # requests are small: how fast they could come is not worth a ping beside each
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MILLISECONDS),
    # Peers test us as often as we test them; gRPC takes more than two such pings in five minutes for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", limits.KEEPALIVE_MILLISECONDS // 2),
)


class DiagnosisAnswers(Protocol):
    """A node's answers about itself, as `registryd.cluster.diagnosis.service.DiagnosisService` gives them."""

    async def report(self, request: diagnosis_pb2.ReportRequest, requester: Requester, /) -> diagnosis_pb2.ReportReply:
        """How this node is."""

    async def reach(self, request: diagnosis_pb2.ReachRequest, requester: Requester, /) -> diagnosis_pb2.ReachReply:
        """Whether this node reaches the caller."""

    async def rehearse(
        self, request: diagnosis_pb2.RehearseRequest, requester: Requester, /
    ) -> diagnosis_pb2.RehearseReply:
        """Have something that a trial can pull."""


class _GoneAreNoBugs(logging.Filter):
    """gRPC's tracebacks when a connection ends in the middle of a call: for debugging only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError):
            record.msg, record.args, record.exc_info = "a call ended with its connection", (), None
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return record.levelno >= _grpc_log.getEffectiveLevel()


_grpc_log: Final = logging.getLogger("grpc._cython.cygrpc")
_grpc_log.addFilter(_GoneAreNoBugs())


class CannotListen(Exception):
    """The address for peers cannot be listened on; the message says which."""


@asynccontextmanager
async def serve_peers(  # noqa: PLR0913 - how this node is seen by others, all named
    address: Address,
    service: ClusterService,
    *,
    credentials: ServerCredentials,
    index: IndexService | None = None,
    diagnosis: DiagnosisAnswers | None = None,
    on_contact: OnContact = lambda _: None,
    drain_timeout: float = 0.0,
    most_connections: int = limits.MAX_CONNECTIONS,
) -> AsyncIterator[int]:
    """Answer peers until the block ends; yields the port, which is new when the address has port 0.

    Without `index` this is no index node, without `diagnosis` it does not report its health. `on_contact` is told of
    every caller. There are at most `most_connections`.

    At the end new calls are refused, and Reads that are under way get `drain_timeout` seconds to end.
    Raises CannotListen.
    """
    most_connections = min(most_connections, limits.MAX_CONNECTIONS)
    options = (*_OPTIONS, ("grpc.max_allowed_incoming_connections", most_connections))
    callers = Callers(most_connections)
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.MAX_CALLS)
    server.add_generic_rpc_handlers((_handlers(service, index, on_contact, callers),))
    if diagnosis is not None:
        server.add_generic_rpc_handlers((_diagnosis_handlers(diagnosis, callers),))
    server.add_generic_rpc_handlers((_Unknown(callers),))
    port = _listen(server, address, credentials)
    await server.start()
    try:
        async with callers.kept_within_bounds(port):
            yield port
    finally:
        await server.stop(drain_timeout)


def _listen(server: grpc.aio.Server, address: Address, credentials: ServerCredentials) -> int:
    try:
        return credentials.add_grpc_port(server, str(address))
    except RuntimeError as error:
        raise CannotListen(f"cannot listen for peers on {address}: {_obstacle(address)}") from error


def _obstacle(address: Address) -> str:
    """The system's reason against listening; gRPC writes it only to its own log."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.create_server((address.host, address.port), family=family):
            return "gRPC could not"
    except OSError as error:
        # Without the address, which Python adds to the text.
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _handlers(
    service: ClusterService, index: IndexService | None, on_contact: OnContact, callers: Callers
) -> grpc.GenericRpcHandler:
    unary = partial(_unary, on_contact, callers)
    handlers: dict[str, Any] = {
        "Hello": unary(pb.HelloRequest, service.hello),
        "Find": unary(pb.FindRequest, service.find),
        "Resolve": unary(pb.ResolveRequest, service.resolve),
        "Vouch": unary(pb.VouchRequest, service.vouch),
        "Doubt": unary(pb.DoubtRequest, service.doubt),
        "Keep": unary(pb.KeepRequest, service.keep),
        "Read": grpc.stream_stream_rpc_method_handler(
            partial(_answer_read, service, callers), response_serializer=read_reply
        ),
    }
    if index is not None:
        handlers["Claim"] = unary(pb.ClaimRequest, index.claim)
        handlers["AnnounceNames"] = unary(pb.AnnounceNamesRequest, index.announce_names)
        handlers["Announce"] = unary(pb.AnnounceRequest, index.announce)
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _diagnosis_handlers(service: DiagnosisAnswers, callers: Callers) -> grpc.GenericRpcHandler:
    # Whoever asks how we are need not be well: it is not taken for a sign of life.
    unary = partial(_unary, lambda _: None, callers)
    handlers: dict[str, Any] = {
        "Report": unary(diagnosis_pb2.ReportRequest, service.report),
        "Reach": unary(diagnosis_pb2.ReachRequest, service.reach),
        "Rehearse": unary(diagnosis_pb2.RehearseRequest, service.rehearse),
    }
    return grpc.method_handlers_generic_handler(DIAGNOSIS, handlers)


def _unary(
    on_contact: OnContact, callers: Callers, kind: type[M], answer: Callable[[M, Requester], Awaitable[Message]]
) -> Any:
    async def handle(_messages: object, context: Context) -> Message:
        try:
            with callers.call(context) as call:
                request, requester = (
                    parse_request(kind, await _message(callers, call, context)),
                    _requester(call.end.address),
                )
                on_contact(requester)
                return await answer(request, requester)
        except Exception as error:  # noqa: BLE001 - each has its status
            await _abort(context, error)

    return grpc.stream_unary_rpc_method_handler(handle, response_serializer=_serialize)


async def _message(callers: Callers, call: Call, context: Context | ReadContext) -> bytes:
    """The one message of a call, when it may be answered."""
    message: Any = await context.read()
    if message is grpc.aio.EOF:
        raise RequestInvalid("a call without a message")
    raw: bytes = message
    if delay := callers.delay(call, len(raw)):
        await asyncio.sleep(delay)
    return raw


class _Unknown(grpc.GenericRpcHandler):
    """Methods of other versions: gRPC's own answer would have no bounds."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._handler: Any = grpc.stream_unary_rpc_method_handler(self._answer)

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return self._handler

    async def _answer(self, _messages: object, context: Context) -> NoReturn:
        try:
            with self._callers.call(context) as call:
                await _message(self._callers, call, context)
        except Exception as error:  # noqa: BLE001 - each has its status
            await _abort(context, error)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def _serialize(reply: Message) -> bytes:
    return reply.SerializeToString()


async def _answer_read(service: ClusterService, callers: Callers, _messages: object, context: ReadContext) -> None:
    try:
        with callers.call(context) as call:
            request = parse_request(pb.ReadRequest, await _message(callers, call, context))
            async with callers.read(call, request.length):
                await service.read(request, _requester(call.end.address), context.write)
    except Exception as error:  # noqa: BLE001 - each has its status
        await _abort(context, error)


async def _abort(context: Context | ReadContext, error: Exception) -> NoReturn:
    """End the call with the status that an error stands for."""
    if isinstance(error, grpc.aio.InternalError):
        raise error  # nobody is there any more
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        # A mistake of ours: it belongs into our log, and nothing of it to the peer.
        note_unexpected("answering a peer", error)
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")
    await context.abort(status, str(error))
