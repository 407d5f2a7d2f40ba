"""containerd's image service as a kubelet uses it: pull, list and remove over the CRI socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from lab.errors import PullError
from registryd.pb.cri.v1.api_pb2 import (
    AuthConfig,
    ImageSpec,
    ListImagesRequest,
    PullImageRequest,
    RemoveImageRequest,
)
from registryd.pb.cri.v1.api_pb2_grpc import ImageServiceStub

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    """A pull secret, as kubelet passes it on: without a server address, so valid for any host that asks."""

    username: str
    password: str


@dataclass(frozen=True)
class PresentImage:
    id: str  # the config's digest
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    is_pinned: bool = False  # the kubelet's garbage collection passes it by


class ImageService:
    """Open one channel per call: a channel that lost a restarted containerd would wait before it tries again."""

    def __init__(self, socket: Path) -> None:
        self._target = f"unix://{socket}"

    async def pull(self, reference: str, *, credentials: Credentials | None = None, timeout: float = 120) -> str:
        """Return the digest of the image's config. PullError carries containerd's own message."""
        auth = AuthConfig(username=credentials.username, password=credentials.password) if credentials else None
        request = PullImageRequest(image=ImageSpec(image=reference), auth=auth)
        try:
            async with grpc.aio.insecure_channel(self._target) as channel:
                answer = await ImageServiceStub(channel).PullImage(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise PullError(f"{reference}: {error.code().name}: {error.details()}") from error
        return answer.image_ref

    async def remove(self, reference: str) -> None:
        """Absent already is fine."""
        request = RemoveImageRequest(image=ImageSpec(image=reference))
        async with grpc.aio.insecure_channel(self._target) as channel:
            await ImageServiceStub(channel).RemoveImage(request, timeout=30)

    async def images(self) -> tuple[PresentImage, ...]:
        async with grpc.aio.insecure_channel(self._target) as channel:
            answer = await ImageServiceStub(channel).ListImages(ListImagesRequest(), timeout=30)
        return tuple(
            PresentImage(image.id, tuple(image.repo_tags), tuple(image.repo_digests), image.pinned)
            for image in answer.images
        )

    async def tags(self) -> frozenset[str]:
        return frozenset(tag for image in await self.images() for tag in image.tags)

    async def pinned(self) -> frozenset[str]:
        """The tags of images that are pinned."""
        return frozenset(tag for image in await self.images() if image.is_pinned for tag in image.tags)

    async def is_ready(self) -> bool:
        try:
            await self.images()
        except grpc.aio.AioRpcError:
            return False
        return True
