"""The contract of everything that can be sent, and the two bodies that need no kernel: memory and chunks."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.transfer.sink import Sink


class Body(Protocol):
    """The bytes of one span of one piece of content, sent once, to one receiver.

    The holder of a body closes it, sent or not. A body knows the quickest way from its source to a socket. The sink
    says which ways the receiver allows.
    """

    @property
    def length(self) -> int:
        """Number of bytes that `send_to` sends when nothing goes wrong."""

    async def send_to(self, sink: Sink) -> None:
        """Send exactly `length` bytes.

        Raises SourceBroken when the source gives fewer (what `sink.sent` counts has arrived, in order), SinkClosed
        when the receiver is gone. Cancelling leaves the sink with what was sent; the body still has to be closed.
        """

    async def aclose(self) -> None:
        """Let go of descriptors, sockets and streams; idempotent, never raises for a dead source."""


class BytesBody:
    """Bytes in memory: manifests and small blobs, verified before they are sent."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def length(self) -> int:
        return len(self._data)

    async def send_to(self, sink: Sink) -> None:
        await sink.write(self._data)

    async def aclose(self) -> None:
        """Do nothing: the body holds nothing."""


class ChunksBody:
    """Chunks as they come from a stream that has no descriptor of its own, such as gRPC Read.

    The body closes the generator. The generator raises SourceBroken when its stream breaks.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, length: int) -> None:
        self._chunks = chunks
        self._length = length

    @property
    def length(self) -> int:
        return self._length

    async def send_to(self, sink: Sink) -> None:
        left = self._length
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await sink.write(chunk[:left])
                left -= min(left, len(chunk))
                if left == 0:
                    return
        if left:
            raise SourceBroken(f"the stream ended {left} bytes early")

    async def aclose(self) -> None:
        await self._chunks.aclose()
