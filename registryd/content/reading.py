"""Small content of a source, as bytes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.memory import read_all

if TYPE_CHECKING:
    from registryd.content.source import ContentSource, OpenContent
    from registryd.oci.digest import Digest


class TooLarge(ContentUnavailable):
    """The content is there, and larger than the reader's limit."""


async def read_content(source: ContentSource, digest: Digest, *, limit: int) -> bytes:
    """The whole content, verified. Raises ContentUnavailable; TooLarge for more than `limit` bytes."""
    return await read_opened(await source.open(digest, Span.whole), limit=limit)


async def read_opened(opened: OpenContent, *, limit: int) -> bytes:
    """All bytes of opened content, verified; closes the content. Raises as `read_content` does."""
    digest = opened.content.digest
    if opened.content.size > limit:
        await opened.body.aclose()
        raise TooLarge(f"{digest} has {opened.content.size} bytes, more than {limit}")
    try:
        data = await read_all(opened.body, limit=limit)
    except SourceBroken as error:
        raise ContentUnavailable(f"{digest} cannot be read: {error}") from error
    if not digest.verifies(data):
        raise ContentUnavailable(f"{digest} is damaged")
    return data
