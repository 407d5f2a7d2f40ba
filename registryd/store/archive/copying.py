"""Content of a store into anything that takes bytes, checked on the way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.store.archive.errors import ArchiveIncomplete
from registryd.transfer.errors import SourceBroken
from registryd.transfer.io_threads import run_in_pool
from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registryd.content.source import ContentSource
    from registryd.oci.digest import Digest

    Write = Callable[[bytes | memoryview], object]


class CheckedSink(Sink):
    """A sink that hashes what it passes on to a blocking function, in the pool."""

    def __init__(self, digest: Digest, write: Write) -> None:
        self.sent = 0
        self.hasher = digest.hasher()
        self._write = write

    async def write(self, data: bytes | memoryview) -> None:
        await run_in_pool(partial(self._take, data))
        self.sent += len(data)

    def _take(self, data: bytes | memoryview) -> None:
        self.hasher.update(data)
        self._write(data)


async def copy_content(store: ContentSource, digest: Digest, write: Write) -> None:
    """Write all of a store's content; raises ArchiveIncomplete when it is not there or damaged."""
    sink = CheckedSink(digest, write)
    try:
        opened = await store.open(digest, Span.whole)
        try:
            await opened.body.send_to(sink)
        finally:
            await opened.body.aclose()
    except (ContentUnavailable, SourceBroken) as error:
        raise ArchiveIncomplete(digest, f"cannot be read: {error}") from error
    if not digest.matches(sink.hasher):
        raise ArchiveIncomplete(digest, "is damaged in the store (`registryd cache fsck --repair` removes it)")


async def damaged_among(store: ContentSource, digests: Iterable[Digest]) -> dict[Digest, str]:
    """The content of these that cannot be copied, and why; reads all of it."""
    damaged = {}
    for digest in digests:
        try:
            await copy_content(store, digest, len)
        except ArchiveIncomplete as error:
            damaged[digest] = error.why
    return damaged
