"""A call in which each message is answered by one: containerd's way to take content in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from registryd.content.source import StoreUnavailable
from registryd.pb.containerd.content_pb2 import WriteContentResponse
from registryd.store.containerd.connection import metadata
from registryd.store.containerd.errors import containerd_errors

if TYPE_CHECKING:
    from registryd.pb.containerd.content_pb2 import WriteContentRequest
    from registryd.store.containerd.connection import ContainerdConnection


class WriteDialogue:
    """One Content.Write; the caller that begins it closes it."""

    def __init__(self, connection: ContainerdConnection, *, namespace: str, lease: str) -> None:
        with containerd_errors():
            self._call = connection.content.Write(metadata=metadata(namespace, lease))

    async def say(self, request: WriteContentRequest, *, timeout: float) -> WriteContentResponse:
        """Send a message and wait for its answer. Raises AlreadyExists, StoreFull or StoreUnavailable."""
        try:
            with containerd_errors():
                async with asyncio.timeout(timeout):
                    # What is over already says why when it is read from.
                    with suppress(asyncio.InvalidStateError):
                        await self._call.write(request)
                    answer = await self._call.read()
        except TimeoutError as error:
            raise StoreUnavailable(f"containerd did not answer within {timeout} s") from error
        if not isinstance(answer, WriteContentResponse):
            raise StoreUnavailable("containerd ended the call")
        return answer

    def close(self) -> None:
        """End the call; idempotent."""
        self._call.cancel()
