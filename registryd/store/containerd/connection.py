"""The gRPC connection to containerd: deadlines, namespaces, and failures in our own words."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar, cast

import grpc

from registryd.content.source import StoreUnavailable
from registryd.pb.containerd.content_pb2_grpc import ContentStub
from registryd.pb.containerd.events_pb2_grpc import EventsStub
from registryd.pb.containerd.images_pb2_grpc import ImagesStub
from registryd.pb.containerd.introspection_pb2_grpc import IntrospectionStub
from registryd.pb.containerd.leases_pb2_grpc import LeasesStub
from registryd.pb.containerd.version_pb2_grpc import VersionStub
from registryd.store.containerd.errors import containerd_errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from grpc.aio import UnaryStreamCall, UnaryStreamMultiCallable, UnaryUnaryMultiCallable

    from registryd.store.containerd.timing import Timing

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_CHANNEL_OPTIONS: Final = (
    # A restarted containerd listens again after some 300 ms. A failed attempt on a Unix socket costs next to nothing.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # The largest message that containerd itself sends (defaults.DefaultMaxSendMsgSize): all images come in one message.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A connection of its own, even if another part of this process talks to the same socket.
    ("grpc.use_local_subchannel_pool", 1),
)


class ContainerdConnection:
    """Talks to the containerd behind a socket, also when another one takes its place there."""

    def __init__(self, socket: Path, timing: Timing) -> None:
        self.timing = timing
        channel = grpc.aio.insecure_channel(f"unix://{socket.absolute()}", options=_CHANNEL_OPTIONS)
        self._channel = channel
        self.content = ContentStub(channel)
        self.events = EventsStub(channel)
        self.images = ImagesStub(channel)
        self.introspection = IntrospectionStub(channel)
        self.leases = LeasesStub(channel)
        self.version = VersionStub(channel)

    async def ask(
        self,
        method: UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        namespace: str = "",
        timeout: float | None = None,
    ) -> ResponseT:
        """One question, one answer, within `timeout` seconds (default: timing.answer).

        Raises ContentNotFound for what is not in the namespace, StoreUnavailable when containerd gives no answer. A
        containerd that is away fails at once; it is not waited for.
        """
        seconds = timeout or self.timing.answer
        try:
            with containerd_errors():
                # By the loop's clock, which stands still while this process does; gRPC's deadlines would all be over.
                async with asyncio.timeout(seconds):
                    answer = await method(request, metadata=metadata(namespace))
        except TimeoutError as error:
            raise StoreUnavailable(f"containerd did not answer within {seconds:g} s") from error
        return _readable(answer)

    async def change(
        self, method: UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, *, namespace: str
    ) -> ResponseT:
        """As `ask`, for a question that changes containerd's database."""
        return await self.ask(method, request, namespace=namespace, timeout=self.timing.change)

    @asynccontextmanager
    async def stream(
        self,
        method: UnaryStreamMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        namespace: str = "",
        patience: float | None = None,
    ) -> AsyncIterator[AsyncIterator[ResponseT]]:
        """A call with several answers, each within `patience` seconds if that is given.

        It is under way when the block begins, and ended when the block is left. Taking a message raises as `ask` does.
        """
        with containerd_errors():
            call = method(request, metadata=metadata(namespace))
        try:
            async with aclosing(_messages(call, patience)) as messages:
                yield messages
        finally:
            call.cancel()

    async def aclose(self) -> None:
        """End every call and close the socket."""
        await self._channel.close()


def metadata(namespace: str, lease: str = "") -> tuple[tuple[str, str], ...]:
    """Which namespace a call is about, and which lease keeps what it writes."""
    pairs = (("containerd-namespace", namespace), ("containerd-lease", lease))
    return tuple((key, value) for key, value in pairs if value)


async def _messages(
    call: UnaryStreamCall[RequestT, ResponseT], patience: float | None
) -> AsyncGenerator[ResponseT, None]:
    while True:
        try:
            with containerd_errors():
                async with asyncio.timeout(patience):
                    message = await call.read()
        except TimeoutError as error:
            raise StoreUnavailable(f"containerd sent nothing for {patience} s") from error
        if message is grpc.aio.EOF:
            return
        yield _readable(cast("ResponseT | None", message))


def _readable(message: ResponseT | None) -> ResponseT:
    # gRPC's way to say that the bytes are no such message.
    if message is None:
        raise StoreUnavailable("containerd's answer cannot be read")
    return message
