"""The image service of a containerd, as far as pulls go, behind a Unix socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from registryd.pb.cri.v1 import api_pb2 as cri
from tests.fakes.containerd_api import unary

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class FakeImages:
    """`there`: sizes of images by name; `failures`: how many pulls of a name fail, with this status, before one works.

    With a `gate` pulls wait for it.
    """

    there: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    status: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    pulls: list[tuple[str, cri.AuthConfig | None]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    running: int = 0
    most_running: int = 0

    async def image_status(self, request: cri.ImageStatusRequest, _context: Context) -> cri.ImageStatusResponse:
        name = request.image.image
        if name not in self.there:
            return cri.ImageStatusResponse()
        return cri.ImageStatusResponse(image=cri.Image(id=name, size=self.there[name]))

    async def pull(self, request: cri.PullImageRequest, context: Context) -> cri.PullImageResponse:
        name = request.image.image
        self.pulls.append((name, request.auth if request.HasField("auth") else None))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.gate:
                await self.gate.wait()
            if self.failures.get(name, 0) > 0:
                self.failures[name] -= 1
                # Not abort: its exception would hold the connection until the garbage is collected.
                context.set_code(self.status)
                context.set_details("no such luck")
                return cri.PullImageResponse()
        finally:
            self.running -= 1
        self.there[name] = 1000
        return cri.PullImageResponse(image_ref=name)


@asynccontextmanager
async def serve_images(images: FakeImages, socket: Path) -> AsyncIterator[None]:
    """Answer at the socket for the length of the block."""
    server = grpc.aio.server()
    methods = {
        "ImageStatus": unary(images.image_status, cri.ImageStatusRequest),
        "PullImage": unary(images.pull, cri.PullImageRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("runtime.v1.ImageService", methods),))
    server.add_insecure_port(f"unix://{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
