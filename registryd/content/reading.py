"""Small content of a source, as bytes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from registryd.content.source import ContentSource, OpenContent
    from registryd.oci.digest import Digest


class TooLarge(ContentUnavailable):
    """It is there, and larger than whoever reads it expects."""


async def read_content(source: ContentSource, digest: Digest, *, limit: int) -> bytes:
    """All of it, verified. Raises ContentUnavailable; TooLarge for more than `limit` bytes."""
    return await read_opened(await source.open(digest, Span.whole), limit=limit)


async def read_opened(opened: OpenContent, *, limit: int) -> bytes:
    """All of content that was opened as a whole, verified; it is closed. Raises as `read_content` does."""
    digest = opened.content.digest
    sink = _Collecting()
    try:
        if opened.content.size > limit:
            raise TooLarge(f"{digest} has {opened.content.size} bytes, more than {limit}")
        await opened.body.send_to(sink)
    except SourceBroken as error:
        raise ContentUnavailable(f"{digest} cannot be read: {error}") from error
    finally:
        await opened.body.aclose()
    data = bytes(sink.data)
    if not digest.verifies(data):
        raise ContentUnavailable(f"{digest} is damaged")
    return data


class _Collecting:
    """A sink (`registryd.transfer.sink`) that keeps what it is sent."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sent = 0

    @property
    def fd(self) -> int | None:
        return None

    async def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.sent += len(data)

    async def wait_writable(self) -> None:
        """There is always room."""
