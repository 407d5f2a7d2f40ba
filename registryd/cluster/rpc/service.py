"""This node's answers to its peers: its own store's knowledge and bytes. No gRPC here, only values and messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from registryd.cluster.contract.copies import CopyAnswer
from registryd.cluster.contract.names import NameAnswer
from registryd.cluster.contract.no_forwarding import AnsweringPeer
from registryd.cluster.rpc.codec import find_reply, node_message, resolve_reply, sought_value
from registryd.cluster.rpc.copy_codec import answer_message, offer_value
from registryd.cluster.rpc.limits import (
    MAX_WAIT_SECONDS,
    MAX_WAITS,
    READ_CHUNK_BYTES,
    STORE_TIMEOUT,
    WRITE_STALL_TIMEOUT,
)
from registryd.content.blocked import ContentBlocked
from registryd.content.growing import stripe_of
from registryd.content.names import newest_first
from registryd.content.source import (
    ContentNotFound,
    ContentUnavailable,
    EntitledSource,
    NameSource,
    NotForName,
    StoreUnavailable,
)
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
    from registryd.content.growing import GrowingSource
    from registryd.content.provenance import Provenance
    from registryd.content.sought import Sought
    from registryd.content.source import Content, OpenContent
    from registryd.identity.requester import Requester
    from registryd.transfer.body import Body

    Write = Callable[[memoryview], Awaitable[None]]
    """Sends content as a message of a Read; returns when gRPC has room for more."""
    IssueTicket = Callable[[Sought, Requester], str]

T = TypeVar("T")


class HearSlow(Protocol):
    """Is told that a node at that host has left this one for being slow; `is_stripe`: it got a stripe from here."""

    def __call__(self, host: str, *, is_stripe: bool) -> None: ...


class LocalStore(EntitledSource, NameSource, Protocol):
    """This node's own store (`registryd.content.entitled.EntitledStore`).

    A store that asks other nodes fails (see `registryd.cluster.contract.no_forwarding`).
    """

    async def entitled(self, sought: Sought, content: Content, provenance: Provenance | None = None) -> Content:
        """Content that is here, with its standing; of `provenance` if that is known besides. Raises NotForName."""


class Expected(Protocol):
    """The content that this node's containerd is going to fetch (`registryd.cluster.fetch.pulls.Pulls`)."""

    @property
    def arrivals(self) -> int:
        """How often something has begun or ended to arrive."""

    def provenance(self, digest: Digest) -> Provenance:
        """For which names."""

    async def expects(self, digest: Digest) -> Content | None:
        """The content if nothing of it has come, and it will be fetched."""

    async def wait_arrivals(self, seen: int) -> None:
        """Return when that is more than `seen`."""


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
        growing: GrowingSource | None = None,
        told_of: Callable[[TaggedName], NameAnswer] = lambda _name: NameAnswer(),
        expected: Expected | None = None,
        offered: Callable[[CopyOffer], CopyAnswer] = lambda _offer: CopyAnswer.REFUSED,
    ) -> None:
        """`uploads` limits how much large content is sent at once, and so says when this node is busy.

        `on_sent` is told the bytes that were given to whom.

        `issue_ticket` gives the right to fetch content at the bytes door, empty where none is asked for.
        `remembers_public`: whether the upstream told this node that anyone may pull from a repository. `hear_doubt` is
        told that a peer thinks little of this node's copy; it is up to no good, or right. `hear_slow` is told that one
        has left this node for being slow. `growing` is what peers may
        wait for; without it they are answered at once. `told_of` is what others have told this node of a name,
        `expected` what this node's containerd is going to fetch. `offered` says whether it takes a copy of an image.
        """
        self._node = node
        self._store = store
        self._uploads = uploads or Uploads()
        self._on_sent = on_sent
        self._issue_ticket = issue_ticket
        self._remembers_public = remembers_public
        self._hear_doubt = hear_doubt
        self._hear_slow = hear_slow
        self._growing = growing
        self._told_of = told_of
        self._expected = expected
        self._offered = offered
        self._waits = 0

    async def hello(self, _request: pb.HelloRequest, _requester: Requester) -> pb.HelloReply:
        return pb.HelloReply(node=node_message(self._node))

    async def find(self, request: pb.FindRequest, requester: Requester) -> pb.FindReply:
        sought = sought_value(request.digest, request.repository, request.stripe)
        is_stripe = sought.stripe is not None
        if request.is_left and self._hear_slow is not None:
            self._hear_slow(requester.address, is_stripe=is_stripe)
        try:
            content = await self._found(sought, request)
        except NotForName:
            return find_reply(self._node, None, busy=self._uploads.is_busy(is_stripe=is_stripe), is_not_for_name=True)
        busy = self._uploads.is_busy(is_stripe=is_stripe)
        ticket = "" if content is None else self._issue_ticket(sought, requester)
        return find_reply(self._node, content, busy=busy, ticket=ticket, uploads=self._uploads.count)

    async def _found(self, sought: Sought, request: pb.FindRequest) -> Content | None:
        content = await self._content(sought)
        if request.wait_milliseconds and content and content.is_growing and content.available <= request.beyond:
            seconds = min(MAX_WAIT_SECONDS, request.wait_milliseconds / 1000)
            return await self._wait_grown(sought, request.beyond, seconds)
        return content

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
            own = await _of_store(self._store.resolve(name))
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

    async def _wait_grown(self, sought: Sought, beyond: int, seconds: float) -> Content | None:
        """The content when it has grown, or as it is after so many seconds."""
        if self._growing is not None and self._waits < MAX_WAITS:
            self._waits += 1
            try:
                async with asyncio.timeout(seconds):
                    grown = await self._grown(self._growing, sought, beyond)
                    # The content may be arriving for another name by now.
                    return await self._store.entitled(sought, grown)
            except (TimeoutError, ContentNotFound):
                pass  # it may be whole by now
            finally:
                self._waits -= 1
        return await self._content(sought)

    async def _grown(self, growing: GrowingSource, sought: Sought, beyond: int) -> Content:
        """The content when it has grown; waits until it begins to arrive, if that is expected."""
        while True:
            seen = self._expected.arrivals if self._expected else 0
            try:
                if sought.stripe is not None:
                    return await growing.growing_stripe(sought.digest, sought.stripe, beyond=beyond)
                return await growing.wait_grown(sought.digest, beyond=beyond)
            except ContentNotFound:
                if self._expected is None or await self._expected.expects(sought.digest) is None:
                    raise
            await self._expected.wait_arrivals(seen)

    async def _content(self, sought: Sought) -> Content | None:
        """Raises NotForName, StoreUnavailable."""
        return await _of_store(self._content_or_expected(sought))

    async def _content_or_expected(self, sought: Sought) -> Content | None:
        try:
            return await self._store.find(sought)
        except ContentBlocked:
            return None
        except ContentNotFound as reason:
            content = None if self._expected is None else await self._expected.expects(sought.digest)
            if content is not None and self._expected is not None:
                content = await self._store.entitled(sought, content, self._expected.provenance(sought.digest))
                return content if sought.stripe is None else stripe_of(content, sought.stripe, 0)
            if isinstance(reason, NotForName):
                raise
            return None

    async def _open(self, sought: Sought, *, offset: int, length: int) -> OpenContent:
        def exactly(size: int) -> Span:
            if offset + length > size:
                raise RangeInvalid(f"the content has {size} bytes", size=size)
            return Span(offset, offset + length)

        return await _of_store(self._store.open(sought, exactly))


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


async def _of_store(answer: Awaitable[T]) -> T:
    """The store's answer, within a time limit."""
    try:
        with AnsweringPeer():
            async with asyncio.timeout(STORE_TIMEOUT):
                return await answer
    except TimeoutError as error:
        raise StoreUnavailable(f"the store did not answer within {STORE_TIMEOUT:g} s") from error
