"""Asking one peer: gRPC as the caller. Every failure is raised as one of `registryd.cluster.errors`."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import grpc

from registryd.cluster.errors import PeerGarbled, PeerSilent, PeerUnreachable
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.channel import PeerChannel, open_connection
from registryd.cluster.rpc.codec import (
    finding,
    node_value,
    parse_reply,
    resolution,
    sought_message,
    stripe_message,
)
from registryd.cluster.rpc.copy_codec import answer_value, offer_message
from registryd.cluster.rpc.failures import reason_of
from registryd.cluster.rpc.index_codec import (
    announcement_message,
    claim_message,
    receipt_value,
    verdict_value,
)
from registryd.cluster.rpc.name_codec import name_announcement_message
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.monitoring.thresholds import GIVING_STALL_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from google.protobuf.message import Message

    from registryd.cluster.contract.copies import CopyAnswer, CopyOffer
    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.names import NameAnnouncement
    from registryd.cluster.contract.node import Node
    from registryd.cluster.contract.peer import FindAnswer, Resolution, Wait
    from registryd.content.sought import Sought
    from registryd.content.source import ContentUnavailable
    from registryd.identity.credentials import ClientCredentials
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository, TaggedName


# Index nodes of names are asked together: a search for a name ends after registry.first_byte_timeout, and waits no
# longer than this for one of them that is silent.
_LONGEST_NAME_QUEUE: Final = 1.0

# How gRPC says that a call has failed.
_BROKEN: Final = (grpc.aio.AioRpcError, TimeoutError, asyncio.CancelledError)


class GrpcPeer:
    """A peer at an address; connects with the first question."""

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        credentials: ClientCredentials,
        on_received: Callable[[Digest, int, Address], None] = lambda _digest, _count, _from: None,
        queue: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`on_received` is told the bytes of content that it gives.

        `queue` says how many seconds longer it may take to answer what all nodes may ask it at the same moment.
        """
        self._address = address
        self._on_received = on_received
        self._queue = queue
        self._timeout = timeout
        self._credentials = credentials
        self._connection: PeerChannel | None = None
        self._former: PeerChannel | None = None
        self._is_closed = False

    async def hello(self) -> Node:
        reply = await self._ask("Hello", pb.HelloRequest())
        return node_value(parse_reply(pb.HelloReply, reply).node)

    async def find(self, sought: Sought, wait: Wait | None = None) -> FindAnswer:
        reply = await self._ask("Find", _find_request(sought, wait), longer=wait.seconds if wait else 0)
        return finding(parse_reply(pb.FindReply, reply), sought.digest)

    async def tell_slow(self, sought: Sought) -> None:
        parse_reply(pb.FindReply, await self._ask("Find", _find_request(sought, None, is_left=True)))

    async def claim(self, claim: Claim) -> ClaimReply:
        reply = await self._ask("Claim", claim_message(claim), longer=self._queue())
        return verdict_value(parse_reply(pb.ClaimReply, reply))

    async def announce(self, announcement: Announcement) -> Receipt:
        reply = await self._ask("Announce", announcement_message(announcement), longer=self._queue())
        return receipt_value(parse_reply(pb.AnnounceReply, reply))

    async def announce_names(self, announcement: NameAnnouncement) -> Receipt:
        message = name_announcement_message(announcement)
        reply = await self._ask("AnnounceNames", message, longer=self._queue())
        return receipt_value(parse_reply(pb.AnnounceReply, reply))

    async def resolve(self, name: TaggedName) -> Resolution:
        longer = min(self._queue(), _LONGEST_NAME_QUEUE)
        reply = await self._ask("Resolve", pb.ResolveRequest(name=str(name)), longer=longer)
        return resolution(parse_reply(pb.ResolveReply, reply))

    async def vouch(self, repository: Repository) -> bool:
        reply = await self._ask("Vouch", pb.VouchRequest(repository=str(repository)))
        return parse_reply(pb.VouchReply, reply).public

    async def doubt(self, digest: Digest) -> None:
        await self._ask("Doubt", pb.DoubtRequest(digest=str(digest)))

    async def keep(self, offer: CopyOffer) -> CopyAnswer:
        reply = await self._ask("Keep", offer_message(offer))
        return answer_value(parse_reply(pb.KeepReply, reply))

    async def read(self, sought: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        request = pb.ReadRequest(
            digest=str(sought.digest),
            offset=span.start,
            length=span.length,
            repository=sought_message(sought),
            stripe=stripe_message(sought.stripe),
        )
        call = (await self._connected()).read(request.SerializeToString())
        left = span.length
        try:
            timeout = limits.READ_START_TIMEOUT
            while left and (chunk := await self._next_chunk(call, timeout)):
                timeout = GIVING_STALL_TIMEOUT if is_growing else limits.READ_STALL_TIMEOUT
                if len(chunk) > left:
                    raise PeerGarbled(f"{self._address} sent more than it was asked for")
                left -= len(chunk)
                self._on_received(sought.digest, len(chunk), self._address)
                yield chunk
            if left:
                raise PeerGarbled(f"{self._address} ended {left} bytes early")
        finally:
            call.cancel()

    async def aclose(self) -> None:
        self._is_closed = True
        connections = (self._connection, self._former)
        self._connection = self._former = None
        for connection in connections:
            if connection is not None:
                await connection.channel.close()

    async def _ask(self, method: str, request: Message | bytes, *, longer: float = 0) -> bytes:
        """The reply to a request, which may be serialised already."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        ask = (await self._connected()).unary[method]
        try:
            # By the loop's clock, which stands still while this process does; gRPC's deadlines would all be over.
            async with asyncio.timeout(self._timeout + longer):
                reply: bytes = await ask(raw)
        except TimeoutError as error:
            raise PeerSilent(f"{self._address}: {PeerSilent.usual}") from error
        except _BROKEN as error:
            if _is_own_cancellation(error):
                raise
            raise self._reason(error) from error
        return reply

    async def _next_chunk(self, call: Any, timeout: float) -> bytes:
        """The data of the next message, empty at the end of the stream."""
        try:
            async with asyncio.timeout(timeout):
                raw = await call.read()
        except _BROKEN as error:
            if _is_own_cancellation(error):
                raise
            raise self._reason(error) from error
        if raw is grpc.aio.EOF:
            return b""
        return parse_reply(pb.ReadReply, raw).data

    async def _connected(self) -> PeerChannel:
        if self._is_closed:
            raise PeerUnreachable(f"{self._address} is no peer any more")
        connection = self._connection
        if connection is None or connection.generation != self._credentials.generation:
            outlived, self._former = self._former, connection
            connection = self._connection = open_connection(self._address, self._credentials)
            if outlived is not None:
                # Calls of the generation before may still run; of the one before that, hours ago, none does.
                await outlived.channel.close()
        return connection

    def _reason(self, error: BaseException) -> ContentUnavailable:
        """Our own words for what went wrong with a call."""
        if isinstance(error, grpc.aio.AioRpcError):
            return reason_of(error, self._address)
        if isinstance(error, TimeoutError):
            return PeerSilent(f"{self._address} stopped sending")
        return PeerUnreachable(f"the connection to {self._address} was closed")


def _is_own_cancellation(error: BaseException) -> bool:
    """Whether this task was cancelled. gRPC also cancels the calls of a closed channel; then only the peer is gone."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


@lru_cache(maxsize=64)
def _find_request(sought: Sought, wait: Wait | None, *, is_left: bool = False) -> bytes:
    """The request, the same for every peer."""
    request = pb.FindRequest(
        digest=str(sought.digest),
        repository=sought_message(sought),
        is_left=is_left,
        stripe=stripe_message(sought.stripe),
    )
    if wait is not None:
        request.wait_milliseconds, request.beyond = int(wait.seconds * 1000), wait.beyond
    return request.SerializeToString()
