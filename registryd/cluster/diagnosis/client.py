"""Asking one node for its health, on a new connection: an existing one does not show that a new one can be made."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from registryd.cluster.diagnosis.messages import reached_value, report_value
from registryd.cluster.errors import PeerSilent
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.codec import DIAGNOSIS, parse_reply
from registryd.cluster.rpc.failures import reason_of
from registryd.pb.registryd.v1 import cluster_pb2
from registryd.pb.registryd.v1 import diagnosis_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from registryd.cluster.diagnosis.values import NodeReport, Reached
    from registryd.content.trial import TrialWords
    from registryd.identity.credentials import ClientCredentials
    from registryd.notation import Address

M = TypeVar("M", bound="Message")

_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", limits.MAX_REQUEST_BYTES),
    ("grpc.enable_retries", 0),
)
# The member tries two ports of this node, two seconds each at most, side by side (diagnosis.contact).
_REACH_TIMEOUT: Final = 4.0
_TIMEOUT: Final = 2.0


class ExaminedMember:
    """One node, asked; made by `asking`. Raises PeerFailed, ContentUnavailable for a "no", PeerOutdated."""

    def __init__(self, channel: grpc.aio.Channel, address: Address) -> None:
        self._channel = channel
        self._address = address

    async def report(self, *, with_view: bool = False) -> NodeReport:
        return report_value(await self._ask("Report", pb.ReportRequest(with_view=with_view), pb.ReportReply))

    async def reach(self, own: Address, content_port: int) -> Reached:
        place = cluster_pb2.Place(host=own.host, port=own.port)
        request = pb.ReachRequest(requester=place, content_port=content_port)
        return reached_value(await self._ask("Reach", request, pb.ReachReply, timeout=_REACH_TIMEOUT))

    async def rehearse(self, words: TrialWords) -> None:
        await self._ask(
            "Rehearse", pb.RehearseRequest(word=words.word, architecture=words.architecture), pb.RehearseReply
        )

    async def _ask(self, method: str, request: Message, kind: type[M], *, timeout: float = _TIMEOUT) -> M:
        ask: Any = self._channel.unary_unary(f"/{DIAGNOSIS}/{method}")
        try:
            async with asyncio.timeout(timeout):  # by the loop's clock, as GrpcPeer does
                reply: bytes = await ask(request.SerializeToString())
        except TimeoutError as error:
            raise PeerSilent(f"{self._address}: {PeerSilent.usual}") from error
        except grpc.aio.AioRpcError as error:
            raise reason_of(error, self._address) from error
        return parse_reply(kind, reply)


@asynccontextmanager
async def asking(address: Address, credentials: ClientCredentials) -> AsyncIterator[ExaminedMember]:
    channel = credentials.open_channel(str(address), _OPTIONS)
    try:
        yield ExaminedMember(channel, address)
    finally:
        await channel.close()
