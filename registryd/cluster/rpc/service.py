"""This node's answers to its peers: its own store's knowledge and bytes. No gRPC here, only values and messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from registryd.cluster.contract.copies import CopyAnswer
from registryd.cluster.contract.names import NameAnswer
from registryd.cluster.rpc.codec import find_reply, node_message, resolve_reply, sought_value
from registryd.cluster.rpc.copy_codec import answer_message, offer_value
from registryd.cluster.rpc.limits import READ_CHUNK_BYTES, WRITE_STALL_TIMEOUT
from registryd.cluster.rpc.local_finder import LocalFinder, of_store
from registryd.content.names import newest_first
from registryd.content.source import ContentUnavailable, NotForName
from registryd.oci.digest import Digest
from registryd.oci.errors import RangeInvalid
from registryd.oci.ranges import Span
from registryd.oci.reference import Repository, TaggedName
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.errors import SinkClosed
from registryd.transfer.sink import Sink
from registryd.transfer.uploads import UploadRefused, Uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.cluster.contract.copies import CopyOffer
    from registryd.cluster.contract.node import Node
    from registryd.cluster.rpc.local_finder import LocalStore
    from registryd.content.sought import Sought
    from registryd.content.source import OpenContent
    from registryd.identity.requester import Requester
    from registryd.transfer.body import Body

    Write = Callable[[memoryview], Awaitable[None]]
    """Sends content as a message of a Read; returns when gRPC has room for more."""
    IssueTicket = Callable[[Sought, Requester], str]


class HearSlow(Protocol):
    """Is told that a node at that host has left this one for being slow; `is_stripe`: it got a stripe from here."""

    def __call__(self, host: str, *, is_stripe: bool) -> None: ...


class ClusterService:
    """The questions of cluster.proto.

    Raises OciError for a request that is not valid, ContentUnavailable and SourceBroken; statuses are the server's.
    """

    def __init__(  # noqa: PLR0913 - the parts of the node that it speaks for, each with a name
        self,
        node: Node,
        store: LocalStore,
        *,
        uploads: Uploads | None = None,
        on_sent: Callable[[Digest, int, Requester], None] = lambda _digest, _count, _requester: None,
        issue_ticket: IssueTicket = lambda _sought, _requester: "",
        remembers_public: Callable[[Repository], bool] = lambda _repository: False,
        hear_doubt: Callable[[Digest], None] = lambda _digest: None,
        hear_slow: HearSlow | None = None,
        finder: LocalFinder | None = None,
        told_of: Callable[[TaggedName], NameAnswer] = lambda _name: NameAnswer(),
        offered: Callable[[CopyOffer], CopyAnswer] = lambda _offer: CopyAnswer.REFUSED,
        is_receiving: Callable[[], bool] = lambda: False,
    ) -> None:
        """`uploads` limits how much large content is sent at once, and so says when this node is busy.

        `on_sent` is told the bytes that were given to whom.

        `issue_ticket` gives the right to fetch content at the bytes door, empty where none is asked for.
        `remembers_public`: whether the upstream told this node that anyone may pull from a repository. `hear_doubt` is
        told that a peer thinks little of this node's copy; it is up to no good, or right. `hear_slow` is told that one
        has left this node for being slow. `finder` looks into the store, and
        may wait for what is arriving. `told_of` is what others have told this node of a name. `offered` says whether it
        takes a copy of an image. `is_receiving`: whether it is getting something from other nodes.
        """
        self._node = node
        self._store = store
        self._uploads = uploads or Uploads()
        self._on_sent = on_sent
        self._issue_ticket = issue_ticket
        self._remembers_public = remembers_public
        self._hear_doubt = hear_doubt
        self._hear_slow = hear_slow
        self._finder = finder or LocalFinder(store)
        self._told_of = told_of
        self._offered = offered
        self._is_receiving = is_receiving

    async def hello(self, _request: pb.HelloRequest, _requester: Requester) -> pb.HelloReply:
        return pb.HelloReply(node=node_message(self._node))

    async def find(self, request: pb.FindRequest, requester: Requester) -> pb.FindReply:
        sought = sought_value(request.digest, request.repository, request.stripe)
        is_stripe = sought.stripe is not None
        if request.is_left and self._hear_slow is not None:
            self._hear_slow(requester.address, is_stripe=is_stripe)
        try:
            content = await self._finder.find(sought, beyond=request.beyond, seconds=request.wait_milliseconds / 1000)
        except NotForName:
            return find_reply(self._node, None, busy=self._uploads.is_busy(is_stripe=is_stripe), is_not_for_name=True)
        busy = self._uploads.is_busy(is_stripe=is_stripe)
        ticket = "" if content is None else self._issue_ticket(sought, requester)
        return find_reply(
            self._node,
            content,
            busy=busy,
            ticket=ticket,
            uploads=self._uploads.count,
            is_receiving=self._is_receiving(),
        )

    async def vouch(self, request: pb.VouchRequest, _requester: Requester) -> pb.VouchReply:
        return pb.VouchReply(public=self._remembers_public(Repository.parse(request.repository)))

    async def doubt(self, request: pb.DoubtRequest, _requester: Requester) -> pb.DoubtReply:
        self._hear_doubt(Digest.parse(request.digest))
        return pb.DoubtReply()

    async def keep(self, request: pb.KeepRequest, _requester: Requester) -> pb.KeepReply:
        return answer_message(self._offered(offer_value(request)))

    async def resolve(self, request: pb.ResolveRequest, _requester: Requester) -> pb.ResolveReply:
        name = TaggedName.parse(request.name)
        told = self._told_of(name)
        try:
            own = await of_store(self._store.resolve(name))
        except ContentUnavailable:
            if not told.known:
                raise
            own = ()
        return resolve_reply(self._node, newest_first([*own, *told.known]), is_settled=told.is_settled)

    async def read(self, request: pb.ReadRequest, requester: Requester, write: Write) -> None:
        sought = sought_value(request.digest, request.repository, request.stripe)
        opened = await self._open(sought, offset=request.offset, length=request.length)
        write = self._counting(sought.digest, requester, write)
        try:
            if request.length <= READ_CHUNK_BYTES:  # manifests and configs: a busy node gives them too
                await opened.body.send_to(_ReplySink(write))
            else:
                await self._upload(opened.body, write, is_stripe=sought.stripe is not None)
        finally:
            await opened.body.aclose()

    def _counting(self, digest: Digest, requester: Requester, write: Write) -> Write:
        async def write_and_count(data: memoryview) -> None:
            await write(data)
            self._on_sent(digest, len(data), requester)

        return write_and_count

    async def _upload(self, body: Body, write: Write, *, is_stripe: bool) -> None:
        async def write_at_pace(data: memoryview) -> None:
            await write(data)
            await upload.pace(len(data))

        try:
            with self._uploads.begin(is_stripe=is_stripe) as upload:
                await body.send_to(_ReplySink(write_at_pace))
        except UploadRefused as error:
            raise ContentUnavailable(f"busy: {error}") from error

    async def _open(self, sought: Sought, *, offset: int, length: int) -> OpenContent:
        def exactly(size: int) -> Span:
            if offset + length > size:
                raise RangeInvalid(f"the content has {size} bytes", size=size)
            return Span(offset, offset + length)

        return await of_store(self._store.open(sought, exactly))


class _ReplySink(Sink):
    """A sink (`registryd.transfer.sink`) that sends what it is given as messages of a Read."""

    def __init__(self, write: Write) -> None:
        self.sent = 0
        self._write = write

    async def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), READ_CHUNK_BYTES):
            chunk = view[start : start + READ_CHUNK_BYTES]
            await self._write_chunk(chunk)
            self.sent += len(chunk)

    async def _write_chunk(self, chunk: memoryview) -> None:
        try:
            async with asyncio.timeout(WRITE_STALL_TIMEOUT):
                await self._write(chunk)
        except TimeoutError as error:
            raise SinkClosed(f"the peer took nothing for {WRITE_STALL_TIMEOUT:g} s") from error
