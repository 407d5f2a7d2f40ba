"""The writing side of the fake containerd: ingests, labels, image names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.empty_pb2 import Empty

from registryd.oci.descriptor import Descriptor
from registryd.oci.digest import Digest
from registryd.pb.containerd import content_pb2, images_pb2
from tests.fakes.containerd_api import namespace_of, serialized, unary
from tests.fakes.containerd_faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.containerd import FakeContainerd
    from tests.fakes.containerd_api import Context, Handler


class WriteApi:
    """Keeps what is being written in `fake.ingests`, by ref."""

    def __init__(self, fake: FakeContainerd) -> None:
        self._fake = fake

    def services(self) -> dict[str, dict[str, Handler]]:
        request = content_pb2.WriteContentRequest.FromString
        return {
            "content.v1.Content": {
                "Write": grpc.stream_stream_rpc_method_handler(self._write, request, serialized),
                "Abort": unary(self._abort, content_pb2.AbortRequest),
                "Update": unary(self._update, content_pb2.UpdateRequest),
            },
            "images.v1.Images": {
                "Create": unary(self._create_image, images_pb2.CreateImageRequest),
                "Update": unary(self._update_image, images_pb2.UpdateImageRequest),
            },
        }

    async def _write(
        self, requests: AsyncIterator[content_pb2.WriteContentRequest], context: Context
    ) -> AsyncIterator[content_pb2.WriteContentResponse]:
        async for request in requests:
            ingest = self._fake.ingests.setdefault(request.ref, bytearray())
            if request.action == content_pb2.WRITE:
                await self._spoil(context)
                assert request.offset == len(ingest)
                ingest += request.data
            if request.action == content_pb2.COMMIT:
                await self._commit(request, context)
            yield content_pb2.WriteContentResponse(action=request.action, offset=len(ingest))

    async def _commit(self, request: content_pb2.WriteContentRequest, context: Context) -> None:
        lease = str(dict(context.invocation_metadata() or ())["containerd-lease"])
        self._fake.leases[lease].add(request.expected)
        data = bytes(self._fake.ingests.pop(request.ref))
        assert str(Digest.of(data)) == request.expected
        if request.expected in self._fake.content[namespace_of(context)]:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"content {request.expected}: already exists")
        self._fake.put_blob(data, namespace=namespace_of(context))

    async def _spoil(self, context: Context) -> None:
        match self._fake.fault:
            case Fault.DISK_FULL:
                await context.abort(grpc.StatusCode.UNKNOWN, "write /data: no space left on device")
            case Fault.STALLED_WRITE:
                await asyncio.Event().wait()

    async def _abort(self, request: content_pb2.AbortRequest, context: Context) -> Empty:
        if self._fake.ingests.pop(request.ref, None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.ref}: not found")
        return Empty()

    async def _update(self, request: content_pb2.UpdateRequest, _context: Context) -> content_pb2.UpdateResponse:
        assert {f"labels.{label}" for label in request.info.labels} == set(request.update_mask.paths)
        self._fake.labels[request.info.digest] = dict(request.info.labels)
        return content_pb2.UpdateResponse(info=request.info)

    async def _create_image(self, request: images_pb2.CreateImageRequest, context: Context) -> Any:
        if request.image.name in self._fake.images[namespace_of(context)]:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"image {request.image.name}: already exists")
        self._set(request.image, context)
        return images_pb2.CreateImageResponse(image=request.image)

    async def _update_image(self, request: images_pb2.UpdateImageRequest, context: Context) -> Any:
        assert request.image.HasField("target")  # which containerd reads whatever the mask says
        if list(request.update_mask.paths) == ["target"]:
            self._set(request.image, context)
            return images_pb2.UpdateImageResponse(image=request.image)
        image = self._fake.images[namespace_of(context)].get(request.image.name)
        if image is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'image "{request.image.name}": not found')
        for path in request.update_mask.paths:
            assert path.startswith("labels.")
            image.labels.pop(label := path.removeprefix("labels."), None)
            if value := request.image.labels.get(label, ""):
                image.labels[label] = value
        image.updated_at.CopyFrom(request.source_date_epoch)
        return images_pb2.UpdateImageResponse(image=image)

    def _set(self, image: images_pb2.Image, context: Context) -> None:
        target = Descriptor(image.target.media_type, Digest.parse(image.target.digest), image.target.size)
        self._fake.put_image(image.name, target, namespace=namespace_of(context))
