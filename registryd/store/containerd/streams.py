"""The bytes of blobs through containerd's API, where its files cannot be read."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable, StoreUnavailable
from registryd.oci.manifest import MAX_MANIFEST_SIZE
from registryd.oci.ranges import Span
from registryd.pb.containerd.content_pb2 import ReadContentRequest
from registryd.store.containerd.blobs import begins_like_json
from registryd.transfer.body import BytesBody, ChunksBody
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.oci.digest import Digest
    from registryd.store.containerd.connection import ContainerdConnection
    from registryd.store.containerd.presence import Located
    from registryd.transfer.body import Body


class BlobStreams:
    """Content.Read: messages of 1 MiB, which gRPC holds back while the receiver is slow."""

    def __init__(self, connection: ContainerdConnection) -> None:
        self._connection = connection

    def lacks(self, digest: Digest) -> bool:  # noqa: ARG002
        return False

    def changed_at(self) -> None:
        return None

    async def open(self, located: Located, span: Span) -> Body:
        if not span.length:
            return BytesBody(b"")  # a size of 0 would mean everything to containerd
        chunks = _from_first_message(self._read(located.digest, located.namespace, span))
        # The generator has to be running: one that never started would not end its call when it is closed.
        await anext(chunks)
        return ChunksBody(chunks, length=span.length)

    async def read_document(self, digest: Digest, namespace: str) -> bytes | None:
        data = bytearray()
        # containerd gives what there is when asked for more; one byte more tells that it is too large.
        async with aclosing(self._read(digest, namespace, Span(0, MAX_MANIFEST_SIZE + 1))) as chunks:
            async for chunk in chunks:
                data += chunk
                if not begins_like_json(data) or len(data) > MAX_MANIFEST_SIZE:
                    return None
        return bytes(data)

    async def _read(self, digest: Digest, namespace: str, span: Span) -> AsyncGenerator[bytes, None]:
        request = ReadContentRequest(digest=str(digest), offset=span.start, size=span.length)
        async with self._connection.stream(
            self._connection.content.Read, request, namespace=namespace, patience=self._connection.timing.chunk
        ) as messages:
            async for message in messages:
                yield message.data


async def _from_first_message(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield an empty chunk when the first message is here, then all messages.

    A failure before the first message is ContentUnavailable. A later failure is SourceBroken, because bytes are on
    their way to a receiver.
    """
    async with aclosing(chunks):
        first = await anext(chunks, b"")
        if not first:
            raise StoreUnavailable("containerd sent none of the bytes")
        yield b""
        yield first
        try:
            async for chunk in chunks:
                yield chunk
        except ContentUnavailable as error:
            raise SourceBroken(str(error)) from error
