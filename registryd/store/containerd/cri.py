"""A pull as the kubelet has containerd do it, taken back at once: for trying out whether it works."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import grpc

from registryd.aio.scope import run_to_end
from registryd.pb.cri.v1.api_pb2 import ImageSpec, PullImageRequest, RemoveImageRequest
from registryd.pb.cri.v1.api_pb2_grpc import ImageServiceStub

if TYPE_CHECKING:
    from pathlib import Path

# A megabyte from a neighbour, and containerd's unpacking of it; a stuck one is not waited for.
_PULL_TIMEOUT: Final = 8.0
_REMOVE_TIMEOUT: Final = 2.0
_MAX_DETAILS: Final = 300


async def try_pull(socket: Path, reference: str) -> str:
    """Pull the image; returns why containerd could not, in its own words, or "". The pulled content is removed again.

    `socket` is given by its whole path.
    """
    async with grpc.aio.insecure_channel(f"unix://{socket}") as channel:
        images = ImageServiceStub(channel)
        spec = ImageSpec(image=reference)
        try:
            await images.PullImage(PullImageRequest(image=spec), timeout=_PULL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {(error.details() or '')[:_MAX_DETAILS]}"
        finally:
            await run_to_end(_remove(images, spec), name="remove trial image")
    return ""


async def _remove(images: Any, spec: ImageSpec) -> None:
    with suppress(grpc.aio.AioRpcError):
        await images.RemoveImage(RemoveImageRequest(image=spec), timeout=_REMOVE_TIMEOUT)
