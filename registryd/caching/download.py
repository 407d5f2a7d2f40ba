"""One blob on its way from an upstream into the store, and what those see who read it meanwhile."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

from registryd.content.source import ContentUnavailable, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress
from registryd.upstream.errors import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.caching.fetching import BlobFetch
    from registryd.caching.keeping import Keeper, ReadableIngest
    from registryd.oci.digest import Digest


class Download:
    """A blob that arrives. Readers see its bytes as they are written, but the last one only when all are verified.

    So nobody is ever given a whole content that is wrong. `is_suspect` content, which was wrong before, is shown from
    its first byte only when it is verified.
    """

    def __init__(self, digest: Digest, *, is_suspect: bool = False) -> None:
        self.digest = digest
        self.readers = 0
        self.is_over = False
        self._is_suspect = is_suspect
        self._size: int | None = None
        self._readable = 0
        self._is_stored = False
        self._failure: ContentUnavailable | None = None
        self._fd: int | None = None
        self._news = asyncio.Event()

    # filled

    async def run(self, fetch: BlobFetch, store: Keeper) -> None:
        """Bring it into the store, whoever reads; how it failed is for the readers. Raises ContentMismatch only."""
        try:
            await fetch.open()
            self._size = fetch.size
            self._announce()
            await self._receive(fetch, store)
        except ContentUnavailable as failure:
            self._failure = failure
        except IngestInProgress as error:
            self._failure = StoreUnavailable(str(error))
        except ContentMismatch as error:
            self._failure = UpstreamBroken(f"an upstream lies: {error}")
            raise
        finally:
            self._failure = self._failure or (
                None if self._is_stored else ContentUnavailable("the download was given up")
            )
            await fetch.aclose()
            self.is_over = True
            self._announce()
            self._close_if_unread()

    async def _receive(self, fetch: BlobFetch, store: Keeper) -> None:
        ingest = await store.begin(self.digest, size=fetch.size)
        try:
            self._fd = ingest.open_written()
            async with aclosing(fetch.chunks()) as chunks:
                async for chunk in chunks:
                    await ingest.write(chunk)
                    self._show(ingest, fetch.size)
            await ingest.commit()
            self._is_stored, self._readable = True, fetch.size
        finally:
            await ingest.aclose()

    def _show(self, ingest: ReadableIngest, size: int) -> None:
        if not self._is_suspect:
            self._readable = min(ingest.written, size - 1)
            self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # read

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it going, and its descriptor open, for the length of the block."""
        self.hold()
        try:
            yield
        finally:
            self.let_go()

    def hold(self) -> None:
        """Somebody reads; to be followed by `let_go`."""
        self.readers += 1

    def let_go(self) -> None:
        """A reader is through with it."""
        self.readers -= 1
        self._close_if_unread()

    @property
    def fd(self) -> int:
        """Where the bytes can be read; valid while it is held, after `wait_readable`."""
        if self._fd is None:
            raise ValueError(f"nothing of {self.digest} can be read")
        return self._fd

    async def wait_size(self) -> int:
        """The size in bytes, once an upstream has said it. Raises ContentUnavailable."""
        while self._size is None:
            await self._wait_news()
        return self._size

    async def wait_readable(self, position: int) -> int:
        """Return how many bytes can be read when more than `position` can, or all. Raises ContentUnavailable."""
        while self._readable <= position and not self._is_stored:
            await self._wait_news()
        return self._readable

    async def _wait_news(self) -> None:
        if self._failure:
            raise self._failure
        await self._news.wait()

    def _close_if_unread(self) -> None:
        if self.is_over and not self.readers and self._fd is not None:
            os.close(self._fd)
            self._fd = None
