"""The services of the fake containerd: what each call answers, and how a fault spoils it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.empty_pb2 import Empty

from registryd.oci.digest import Digest
from registryd.pb.containerd import content_pb2, events_pb2, images_pb2, introspection_pb2, types_pb2, version_pb2
from tests.fakes.containerd_faults import LATE_SECONDS, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.fakes.containerd import FakeContainerd

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

_FILTER = re.compile(r'namespace=="([^"]+)",topic=="([^"]+)"')
_CHUNK = 64 * 1024


class Api:
    """Answers from the state of a fake."""

    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def services(self) -> dict[str, dict[str, Handler]]:
        return {
            "content.v1.Content": {
                "Info": unary(self._info, content_pb2.InfoRequest),
                "List": _stream(self._list_content, content_pb2.ListContentRequest),
                "Read": _stream(self._read, content_pb2.ReadContentRequest),
            },
            "images.v1.Images": {
                "Get": unary(self._get_image, images_pb2.GetImageRequest),
                "List": unary(self._list_images, images_pb2.ListImagesRequest),
            },
            "events.v1.Events": {"Subscribe": _stream(self._subscribe, events_pb2.SubscribeRequest)},
            "version.v1.Version": {"Version": unary(self._version, Empty)},
            "introspection.v1.Introspection": {"Plugins": unary(self._plugins, introspection_pb2.PluginsRequest)},
        }

    async def _info(self, request: content_pb2.InfoRequest, context: Context) -> content_pb2.InfoResponse:
        path = await self._file(request.digest, context)
        labels = self._fake.labels.get(request.digest, {})
        info = content_pb2.Info(digest=request.digest, size=path.stat().st_size, labels=labels)
        if self._fake.fault is Fault.OTHER_DIGEST:
            info.digest = str(Digest.of(b"other"))
        if self._fake.fault in {Fault.NEGATIVE_SIZE, Fault.WRONG_SIZE}:
            info.size = -1 if self._fake.fault is Fault.NEGATIVE_SIZE else info.size + 1
        return content_pb2.InfoResponse(info=info)

    async def _list_content(
        self, _request: Message, context: Context
    ) -> AsyncIterator[content_pb2.ListContentResponse]:
        digests = list(self._fake.content[namespace_of(context)])
        infos = [content_pb2.Info(digest=d, size=self._fake.path(Digest.parse(d)).stat().st_size) for d in digests]
        for start in range(0, len(infos), 100):
            yield content_pb2.ListContentResponse(info=infos[start : start + 100])

    async def _read(
        self, request: content_pb2.ReadContentRequest, context: Context
    ) -> AsyncIterator[content_pb2.ReadContentResponse]:
        data = (await self._file(request.digest, context)).read_bytes()
        if request.offset > len(data):
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "read past object length")
        data = data[request.offset :][: request.size or None] if self._fake.fault is not Fault.EMPTY_READ else b""
        self._fake.reads_under_way += 1
        try:
            for offset in range(0, len(data), _CHUNK):
                yield content_pb2.ReadContentResponse(offset=offset, data=data[offset : offset + _CHUNK])
                if await self._read_is_over(context):
                    return
        finally:
            self._fake.reads_under_way -= 1

    async def _read_is_over(self, context: Context) -> bool:
        if self._fake.fault is Fault.BROKEN_READ:
            await context.abort(grpc.StatusCode.UNKNOWN, "input/output error")
        if self._fake.fault is Fault.STALLED_READ:
            await asyncio.Event().wait()
        return self._fake.fault is Fault.SHORT_READ

    async def _file(self, digest: str, context: Context) -> Path:
        if digest not in self._fake.content[namespace_of(context)]:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"content {digest}: not found")
        return self._fake.path(Digest.parse(digest))

    async def _get_image(self, request: images_pb2.GetImageRequest, context: Context) -> images_pb2.GetImageResponse:
        image = self._fake.images[namespace_of(context)].get(request.name)
        if image is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'image "{request.name}": not found')
        return images_pb2.GetImageResponse(image=image)

    async def _list_images(self, _request: Message, context: Context) -> images_pb2.ListImagesResponse:
        return images_pb2.ListImagesResponse(images=self._fake.images[namespace_of(context)].values())

    async def _subscribe(
        self, request: events_pb2.SubscribeRequest, _context: Context
    ) -> AsyncIterator[types_pb2.Envelope]:
        wanted = {(match[1], match[2]) for text in request.filters if (match := _FILTER.fullmatch(text))}
        assert len(wanted) == len(request.filters)
        queue: asyncio.Queue[types_pb2.Envelope | None] = asyncio.Queue()
        self._fake.subscribers[queue] = wanted
        try:
            while event := await queue.get():
                yield event
        finally:
            del self._fake.subscribers[queue]

    async def _version(self, _request: Message, _context: Context) -> version_pb2.VersionResponse:
        return version_pb2.VersionResponse(version="1.6.20-fake")

    async def _plugins(self, _request: Message, _context: Context) -> introspection_pb2.PluginsResponse:
        exports = {"root": str(self._fake.told_root)} if self._fake.told_root else {}
        plugins = [
            introspection_pb2.Plugin(type="io.containerd.snapshotter.v1", id="native", exports={"root": "/elsewhere"}),
            introspection_pb2.Plugin(type="io.containerd.content.v1", id="content", exports=exports),
        ]
        return introspection_pb2.PluginsResponse(plugins=plugins)


class Faults(grpc.aio.ServerInterceptor):
    """Counts calls, and spoils them as the fault says."""

    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        service, _, method = handler_call_details.method.rpartition("/")
        # Apart, because leases are looked after in the background.
        calls = self._fake.lease_calls if service.endswith("Leases") else self._fake.calls
        calls[method] += 1
        if self._fake.fault is Fault.SILENT:
            await asyncio.Event().wait()
        if self._fake.fault is Fault.LATE:
            await asyncio.sleep(LATE_SECONDS)
        if self._fake.fault is Fault.REFUSING:
            return unary(_refuse, Empty)
        if self._fake.fault is Fault.GARBAGE:
            return handler._replace(response_serializer=lambda _message: b"\xff\xff")
        return handler


async def _refuse(_request: Message, context: Context) -> None:
    await context.abort(grpc.StatusCode.INTERNAL, "this containerd refuses " + "everything " * 100)


def namespace_of(context: Context) -> str:
    return dict(context.invocation_metadata() or ())["containerd-namespace"]  # type: ignore[return-value]


def unary(behaviour: Callable[..., Any], request: type[Message]) -> Handler:
    return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, serialized)


def _stream(behaviour: Callable[..., Any], request: type[Message]) -> Handler:
    return grpc.unary_stream_rpc_method_handler(behaviour, request.FromString, serialized)


def serialized(message: Message) -> bytes:
    return message.SerializeToString()
