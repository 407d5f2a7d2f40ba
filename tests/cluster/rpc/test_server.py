from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registryd.cluster.contract.no_forwarding import AnsweringPeer, ForwardingRefused
from registryd.cluster.members.member import MemberState
from registryd.cluster.rpc import limits
from registryd.cluster.rpc.server import CannotListen
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from tests.cluster.conftest import until
from tests.fakes.entitled import sought
from tests.fakes.images import oci_image, sample_bytes
from tests.fakes.peers import BoastingStore
from tests.fakes.sources import FailingSource, MemorySource, SilentSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from google.protobuf.message import Message

    from registryd.cluster.fetch.source import ClusterSource
    from registryd.content.source import Content, NamedContent, OpenContent, RangeOf
    from registryd.oci.reference import TaggedName
    from tests.cluster.conftest import Lab
    from tests.fakes.peers import FakePeer

DATA = sample_bytes(2_500_000)
DIGEST = Digest.of(DATA)


class Asker:
    """Sends raw messages, as someone would who does not use our client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def ask(self, method: str, request: Message | bytes, **call: Any) -> bytes:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        ask: Any = self._channel.unary_unary(f"/registryd.v1.Cluster/{method}")
        reply: bytes = await ask(raw, timeout=30, **call)
        return reply

    async def read(self, request: Message | bytes) -> list[bytes]:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        read: Any = self._channel.unary_stream("/registryd.v1.Cluster/Read")
        return [pb.ReadReply.FromString(reply).data async for reply in read(raw, timeout=30)]

    async def status_of(self, method: str, request: Message | bytes) -> grpc.StatusCode:
        """With what a request is refused."""
        try:
            await (self.read(request) if method == "Read" else self.ask(method, request))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@asynccontextmanager
async def asking(peer: FakePeer) -> AsyncIterator[Asker]:
    async with grpc.aio.insecure_channel(str(peer.address)) as channel:
        yield Asker(channel)


@pytest.fixture
def store() -> MemorySource:
    store = MemorySource(oci_image())
    store.add(DIGEST, DATA, media_type="application/x-layer")
    return store


async def test_a_node_introduces_itself(lab: Lab, store: MemorySource) -> None:
    peer = await lab.good(store, content_port=3174)
    async with asking(peer) as asker:
        reply = pb.HelloReply.FromString(await asker.ask("Hello", pb.HelloRequest()))
    assert (reply.node.id, reply.node.content_port) == (str(peer.node.id), 3174)


async def test_what_is_here_and_what_is_not(lab: Lab, store: MemorySource) -> None:
    async with asking(await lab.good(store, busy=True)) as asker:
        here = pb.FindReply.FromString(await asker.ask("Find", pb.FindRequest(digest=str(DIGEST))))
        absent = pb.FindReply.FromString(await asker.ask("Find", pb.FindRequest(digest=str(Digest.of(b"")))))
    assert (here.content.size, here.content.media_type, here.busy) == (len(DATA), "application/x-layer", True)
    assert not absent.HasField("content")


async def test_bytes_come_in_bounded_messages(lab: Lab, store: MemorySource) -> None:
    request = pb.ReadRequest(digest=str(DIGEST), offset=5, length=len(DATA) - 5)
    async with asking(await lab.good(store)) as asker:
        chunks = await asker.read(request)
    assert b"".join(chunks) == DATA[5:]
    assert max(map(len, chunks)) == limits.READ_CHUNK_BYTES
    assert store.left_open == 0


@pytest.mark.parametrize(
    "refused",
    [
        ("Find", pb.FindRequest(digest="../../etc/passwd"), "INVALID_ARGUMENT"),
        ("Find", pb.FindRequest(), "INVALID_ARGUMENT"),
        ("Find", b"\xff\xff\xff", "INVALID_ARGUMENT"),
        ("Find", b"x" * 100_000, "RESOURCE_EXHAUSTED"),
        ("Resolve", pb.ResolveRequest(name="alpine"), "INVALID_ARGUMENT"),
        ("Resolve", pb.ResolveRequest(name="docker.io/UPPER:v1"), "INVALID_ARGUMENT"),
        ("Read", pb.ReadRequest(digest="sha256:12"), "INVALID_ARGUMENT"),
        ("Read", b"\x08", "INVALID_ARGUMENT"),
        ("Read", pb.ReadRequest(digest=str(Digest.of(b"")), length=1), "NOT_FOUND"),
        ("Read", pb.ReadRequest(digest=str(DIGEST), offset=2**64 - 1, length=2**64 - 1), "OUT_OF_RANGE"),
        ("Read", pb.ReadRequest(digest=str(DIGEST), length=len(DATA) + 1), "OUT_OF_RANGE"),
        ("Drop", pb.HelloRequest(), "UNIMPLEMENTED"),
    ],
)
async def test_what_is_not_valid_is_refused(
    lab: Lab, store: MemorySource, caplog: pytest.LogCaptureFixture, refused: tuple[str, Message | bytes, str]
) -> None:
    method, request, status = refused
    async with asking(await lab.good(store)) as asker:
        assert (await asker.status_of(method, request)).name == status
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("method", ["Find", "Resolve", "Read"])
async def test_a_store_that_cannot_say(lab: Lab, method: str) -> None:
    requests = {
        "Find": pb.FindRequest(digest=str(DIGEST)),
        "Resolve": pb.ResolveRequest(name="docker.io/library/alpine:3"),
        "Read": pb.ReadRequest(digest=str(DIGEST), length=1),
    }
    async with asking(await lab.good(FailingSource())) as asker:
        assert await asker.status_of(method, requests[method]) is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_store_that_hangs_is_given_up(lab: Lab) -> None:
    silent = SilentSource()
    async with asking(await lab.good(silent)) as asker:
        status = await asker.status_of("Find", pb.FindRequest(digest=str(DIGEST)))
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert silent.cancelled == 1


async def test_a_mistake_of_ours_is_logged_and_not_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    async with asking(await lab.good(BoastingStore(size=10))) as asker:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asker.read(pb.ReadRequest(digest=str(DIGEST), length=10))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "a bug of the store" in caplog.text


async def test_who_hangs_up_ends_the_read(lab: Lab, store: MemorySource) -> None:
    async with asking(await lab.good(store)) as asker:
        read: Any = asker._channel.unary_stream("/registryd.v1.Cluster/Read")
        call = read(pb.ReadRequest(digest=str(DIGEST), length=len(DATA)).SerializeToString())
        await call.read()
        call.cancel()
        await until(lambda: store.left_open == 0)


async def test_a_second_agent_cannot_take_the_port(lab: Lab, store: MemorySource) -> None:
    peer = await lab.good(store)
    with pytest.raises(CannotListen, match=rf"{peer.address}: Address already in use$"):
        await lab.good(store, address=peer.address)


async def test_huge_headers_are_cut_off(lab: Lab, store: MemorySource) -> None:
    async with asking(await lab.good(store)) as asker:
        with pytest.raises(grpc.aio.AioRpcError):
            await asker.ask("Hello", pb.HelloRequest(), metadata=(("x", "y" * 100_000),))


# Whatever bytes arrive, the answer is a proper refusal.

_INTERNAL = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["Hello", "Find", "Resolve", "Read"]),
    message=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda text: pb.FindRequest(digest=text).SerializeToString(), st.text(max_size=200)),
        st.builds(
            lambda offset, length: pb.ReadRequest(digest=str(DIGEST), offset=offset, length=length).SerializeToString(),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
        ),
    ),
)
async def test_arbitrary_bytes(
    lab: Lab, store: MemorySource, caplog: pytest.LogCaptureFixture, method: str, message: bytes
) -> None:
    async with asking(await lab.good(store)) as asker:
        assert await asker.status_of(method, message) not in _INTERNAL
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# What peers ask is never forwarded.


class Forwarding:
    """The cluster in the place of a node's own store."""

    def __init__(self, source: ClusterSource) -> None:
        self._source = source

    async def find(self, digest: Digest) -> Content:
        return await self._source.find(sought(digest))

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        return await self._source.open(sought(digest), wanted)

    async def resolve(self, name: TaggedName) -> Sequence[NamedContent]:
        return await self._source.resolve(name)


async def test_a_peers_request_is_never_forwarded(
    lab: Lab, store: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    """Even when an agent is put together wrongly, with the cluster as the server's own store."""
    knowing = await lab.good(store)
    middle = await lab.node(knowing)
    await until(lambda: middle.state_of(knowing) is MemberState.UP)
    async with asking(await lab.good(Forwarding(middle.source))) as asker:
        for method, request in (
            ("Find", pb.FindRequest(digest=str(DIGEST))),
            ("Resolve", pb.ResolveRequest(name=str(oci_image().name))),
            ("Read", pb.ReadRequest(digest=str(DIGEST), length=1)),
        ):
            assert await asker.status_of(method, request) is grpc.StatusCode.INTERNAL
    assert caplog.text.count(ForwardingRefused.__name__) == 3
    assert store.asked == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda source: source.open(sought(DIGEST), Span.whole),
        lambda source: source.find(sought(DIGEST)),
        lambda source: source.resolve(oci_image().name),
        lambda source: source.vouch(oci_image().name.repository),
    ],
    ids=["open", "find", "resolve", "vouch"],
)
async def test_the_mark_holds_in_tasks_that_are_started_under_it(
    lab: Lab, ask: Callable[[ClusterSource], Coroutine[Any, Any, object]]
) -> None:
    node = await lab.node()
    with AnsweringPeer():
        task = asyncio.create_task(ask(node.source))
    with pytest.raises(ForwardingRefused):
        await task


async def test_listening_on_what_is_not_ours(lab: Lab, store: MemorySource) -> None:
    with pytest.raises(CannotListen, match=r"Cannot assign requested address$"):
        await lab.good(store, address=Address("192.0.2.254", 0))


async def test_a_method_of_another_version_is_said_not_to_be_there(lab: Lab, store: MemorySource) -> None:
    async with asking(await lab.good(store)) as asker:
        assert await asker.status_of("Nothing", b"") == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["Find", "Read", "Nothing"])
async def test_a_call_without_a_message_is_refused(lab: Lab, store: MemorySource, method: str) -> None:
    async with grpc.aio.insecure_channel(str((await lab.good(store)).address)) as channel:
        call: Any = channel.stream_stream(f"/registryd.v1.Cluster/{method}")(iter(()), timeout=30)
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_that_are_never_made_whole_leave_room_for_others(
    lab: Lab, store: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CALLS_OF_ADDRESS", 20)
    peer = await lab.good(store)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(str(peer.address)))
        halves: list[Any] = [channel.stream_unary("/registryd.v1.Cluster/Hello")() for _ in range(40)]
        codes = [asyncio.ensure_future(call.code()) for call in halves]
        for number, code in enumerate(asyncio.as_completed(codes, timeout=30), 1):
            assert await code == grpc.StatusCode.RESOURCE_EXHAUSTED
            if number == 20:
                break
        for call in halves:
            call.cancel()
        await asyncio.wait(codes)


def test_a_call_that_ends_with_its_connection_is_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("grpc._cython.cygrpc").error("raised in core", exc_info=grpc.aio.InternalError("batch"))
    assert not caplog.records
    logging.getLogger("grpc._cython.cygrpc").error("something else")
    assert caplog.messages == ["something else"]
