"""Images brought into a containerd as a kubelet brings them: by its CRI, so that they are unpacked and kept."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from registryd.pb.cri.v1.api_pb2 import AuthConfig, ImageSpec, ImageStatusRequest, PullImageRequest
from registryd.pb.cri.v1.api_pb2_grpc import ImageServiceStub
from registryd.store.containerd.errors import containerd_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.pb.cri.v1.api_pb2_grpc import ImageServiceAsyncStub

# A connection of its own, even if another part of this process talks to the same socket.
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
_STATUS_TIMEOUT: Final = 10.0
# Since 1.7 containerd gives up a pull that has got nothing for five minutes; an earlier one might wait for ever.
_PULL_TIMEOUT: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A login, and the one server for it: containerd shows the login to no other server.

    `identity_token` instead of user name and password where a login is a refresh token.
    """

    server: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class ImagePuller:
    """Talks to the CRI of one containerd. Every method raises ContentUnavailable, with containerd's own words."""

    def __init__(self, images: ImageServiceAsyncStub) -> None:
        self._images = images

    async def size_of(self, name: str) -> int | None:
        """The bytes of an image that is there, as containerd counts them; None when it is not."""
        with containerd_errors():
            request = ImageStatusRequest(image=ImageSpec(image=name))
            answer = await self._images.ImageStatus(request, timeout=_STATUS_TIMEOUT)
        return answer.image.size if answer.HasField("image") else None

    async def is_pinned(self, name: str) -> bool:
        """Whether the kubelet's garbage collection is told to pass it by."""
        with containerd_errors():
            request = ImageStatusRequest(image=ImageSpec(image=name))
            answer = await self._images.ImageStatus(request, timeout=_STATUS_TIMEOUT)
        return answer.image.pinned

    async def pull(self, name: str, secret: PullSecret | None) -> None:
        """Return when it is there, unpacked."""
        with containerd_errors():
            request = PullImageRequest(image=ImageSpec(image=name), auth=_auth(secret) if secret else None)
            await self._images.PullImage(request, timeout=_PULL_TIMEOUT)


def _auth(secret: PullSecret) -> AuthConfig:
    return AuthConfig(
        username=secret.username,
        password=secret.password,
        identity_token=secret.identity_token,
        server_address=secret.server,
    )


@asynccontextmanager
async def open_puller(socket: Path) -> AsyncIterator[ImagePuller]:
    """A puller for the containerd behind a socket, given by its whole path."""
    async with grpc.aio.insecure_channel(f"unix://{socket}", options=_OPTIONS) as channel:
        yield ImagePuller(ImageServiceStub(channel))
