"""One blob on its way from an upstream, and the bytes that readers see meanwhile."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.caching.window import Reader, Window
from registryd.content.source import ContentUnavailable, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.file import FileBody
from registryd.transfer.io_threads import run_in_pool
from registryd.upstream.errors import UpstreamBroken

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Iterator

    from registryd.caching.fetching import BlobFetch
    from registryd.caching.keeping import CacheStore
    from registryd.caching.window import WindowMemory
    from registryd.oci.digest import Digest
    from registryd.transfer.sink import Sink

_READ_BYTES: Final = 1024 * 1024
# Configs, and layers of next to nothing: they come with the head, and are stored in one step before they are shown.
_SMALL_BYTES: Final = 128 * 1024


class Circumstances(Protocol):
    """The common parts of all downloads."""

    memory: WindowMemory
    behind_seconds: float

    def not_stored(self, why: Exception) -> None:
        """The store does not take it; it is sent on all the same."""


class Download:
    """A blob that arrives. Readers see its bytes as they come, but the last byte only when all are verified.

    The caller that makes a download runs it, and drops it in the end.

    So no reader ever gets a whole content that is wrong. `is_suspect` content was wrong before, or comes in an
    answer that says to be longer: readers see its first byte only when the content is verified, in the store, or in
    memory as a whole.

    Content that the store does not take goes past the store: from there on the latest bytes are in memory, for the
    readers that are there.
    """

    def __init__(self, digest: Digest, common: Circumstances, *, is_suspect: bool = False) -> None:
        self.digest = digest
        self.is_over = False
        self.is_resumed = False
        """Whether some of it came before, from whoever it was."""
        self.is_stored = False
        """Whether it is in the store by now."""
        self._common = common
        self._is_suspect = is_suspect
        self._size: int | None = None
        self._beginning = b""
        self._written = 0
        self._readable = 0
        self._is_whole = False
        self._is_dropped = False
        self._failure: ContentUnavailable | None = None
        self._fd: int | None = None
        self._window: Window | None = None
        self._readers: set[Reader] = set()
        self._news = asyncio.Event()

    # filled

    async def run(self, fetch: BlobFetch, store: CacheStore | None) -> None:
        """Bring the content into the store, if there is one for it, and to readers, who also learn of a failure.

        Raises ContentMismatch only.
        """
        try:
            await self._open(fetch, store)
            if fetch.size <= _SMALL_BYTES and not fetch.position:
                await self._take_at_once(fetch, store)
            elif store is None or not await self._store(fetch, store):
                await self._send_on(fetch)
        except ContentUnavailable as failure:
            self._failure = failure
        except ContentMismatch as error:
            self._failure = UpstreamBroken(f"an upstream lies: {error}")
            raise
        finally:
            self._failure = self._failure or (
                None if self._is_whole else ContentUnavailable("the download was given up")
            )
            # Before anything that may fail or be cancelled: readers wait for this news without a bound.
            self.is_over = True
            self._announce()
            await fetch.aclose()

    def drop(self) -> None:
        """Accept no new reader, and release everything when the present readers are through."""
        self._is_dropped = True
        self._close_if_unread()

    async def _open(self, fetch: BlobFetch, store: CacheStore | None) -> None:
        await fetch.go_to(store.kept(self.digest, fetch.repository) if store else 0)
        try:
            await fetch.open()
        except UpstreamBroken:
            if not fetch.position:
                raise
            # The bytes that came before were more than the content has.
            await fetch.go_to(0)
            await fetch.open()
        self._size = fetch.size
        self._is_suspect |= fetch.is_longer
        if not self._is_suspect and fetch.size > _SMALL_BYTES:
            # Sent from memory while the store makes room and a file for it.
            self._beginning = fetch.beginning
            self._readable = max(0, min(len(self._beginning), fetch.size - 1))
        self._announce()

    async def _take_at_once(self, fetch: BlobFetch, store: CacheStore | None) -> None:
        async with aclosing(fetch.chunks()) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        if not self.digest.verifies(data):
            raise ContentMismatch(f"the bytes that came are not those of {self.digest}")
        # Verified as it is, it may be shown though it was wrong before.
        if store is not None and await self._put(data, fetch, store):
            self._beginning = data
        else:
            window = self._window = self._open_window(0)
            await window.put(data)
        self._end(fetch.size)

    async def _put(self, data: bytes, fetch: BlobFetch, store: CacheStore) -> bool:
        try:
            await store.put(self.digest, data, repository=fetch.repository)
        except (StoreUnavailable, IngestInProgress) as error:
            self._common.not_stored(error)
            return False
        self.is_stored = True
        return True

    async def _store(self, fetch: BlobFetch, store: CacheStore) -> bool:
        try:
            await self._receive(fetch, store)
        except (StoreUnavailable, IngestInProgress) as error:
            self._common.not_stored(error)
            return False
        return True

    async def _receive(self, fetch: BlobFetch, store: CacheStore) -> None:
        ingest = await store.begin(self.digest, size=fetch.size, repository=fetch.repository)
        try:
            self._fd = ingest.open_written(self._show_written)
            self.is_resumed = ingest.received > 0
            await fetch.go_to(ingest.received)
            self._show_written(ingest.written)
            async with aclosing(fetch.chunks()) as chunks:
                async for chunk in chunks:
                    await ingest.write(chunk)
            await ingest.commit()
            self.is_stored = True
            self._end(fetch.size)
        finally:
            self._written = ingest.written
            await ingest.aclose()

    async def _send_on(self, fetch: BlobFetch) -> None:
        """Go on without the store. The file has lost its name, and the cache can still read it."""
        window = self._window = self._open_window(self._written)
        if self._is_suspect and not await window.reserve(fetch.size - self._written):
            raise UpstreamBroken(f"{self.digest} was wrong before, and there is no room to verify it first")
        hasher = self.digest.hasher()
        await self._hash_written(hasher)
        await fetch.go_to(self._written)
        async with aclosing(fetch.chunks()) as chunks:
            async for chunk in chunks:
                await run_in_pool(partial(hasher.update, chunk))
                await window.put(chunk)
                self._show_written(window.end)
        if not self.digest.matches(hasher):
            raise ContentMismatch(f"the bytes that came are not those of {self.digest}")
        self._end(fetch.size)

    def _open_window(self, start: int) -> Window:
        return Window(start, self._common.memory, self._readers, patience=self._common.behind_seconds)

    async def _hash_written(self, hasher: HASH) -> None:
        position = 0
        while position < self._written:
            count = min(_READ_BYTES, self._written - position)
            try:
                data = await run_in_pool(partial(os.pread, self._file, count, position))
            except OSError as error:
                raise ContentUnavailable(f"what came of {self.digest} cannot be read: {error.strerror}") from error
            await run_in_pool(partial(hasher.update, data))
            position += count

    def _show_written(self, written: int) -> None:
        if not self._is_suspect:
            self._show(written)

    def _show(self, come: int) -> None:
        if self._size is not None:
            self._readable = max(self._readable, min(come, self._size - 1))
            self._announce()
        if come >= len(self._beginning):
            self._beginning = b""

    def _end(self, size: int) -> None:
        self._is_whole, self._readable = True, size

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # read

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Keep it going, and what is not stored of it in memory, for the length of the block."""
        reader = self.enter(0)
        try:
            yield reader
        finally:
            self.leave(reader)

    def enter(self, position: int) -> Reader:
        """Note a reader from this position on; to be followed by `leave`."""
        reader = Reader(position)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """He is through with it."""
        self._readers.discard(reader)
        self._moved()
        self._close_if_unread()

    @property
    def is_in_memory(self) -> bool:
        """Whether all of it is there, and nowhere else."""
        return self._is_whole and self._window is not None and not self._window.start

    @property
    def is_read(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def has(self, position: int) -> bool:
        """Whether this byte has not come yet, or is still here."""
        return self._window is None or position < self._written or position >= self._window.start

    async def wait_size(self) -> int:
        """The size in bytes, once an upstream has said it. Raises ContentUnavailable."""
        while self._size is None:
            await self._wait_news()
        return self._size

    async def wait_readable(self, position: int) -> int:
        """Return how many bytes can be read when more than `position` can, or all. Raises ContentUnavailable."""
        while self._readable <= position and not self._is_whole:
            await self._wait_news()
        return self._readable

    async def send_some(self, reader: Reader, stop: int, sink: Sink) -> None:
        """Send the bytes that are here from the reader's position on, up to `stop`, and at least a byte.

        Raises ContentUnavailable, SinkClosed, or SourceBroken for a reader who was left behind.
        """
        span = Span(reader.position, min(stop, await self.wait_readable(reader.position)))
        if not self.has(span.start):
            raise SourceBroken("a reader was too slow for others, and gets the rest by himself")
        if span.start < len(self._beginning):
            sent = await _write(memoryview(self._beginning)[span.start :], span, sink)
        elif self._window is None or span.start < self._written:
            piece = span if self._window is None else Span(span.start, min(span.stop, self._written))
            # Never closed: the descriptor is the download's.
            await FileBody(self._file, piece).send_to(sink)
            sent = piece.length
        else:
            sent = await _write(self._window.get(span.start), span, sink)
        reader.position += sent
        self._moved()

    @property
    def _file(self) -> int:
        if self._fd is None:
            raise ValueError(f"nothing of {self.digest} can be read")
        return self._fd

    def _moved(self) -> None:
        if self._window:
            self._window.moved()

    async def _wait_news(self) -> None:
        if self._failure:
            raise self._failure
        await self._news.wait()

    def _close_if_unread(self) -> None:
        if not self._is_dropped or self._readers:
            return
        if self._window:
            self._window.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


async def _write(data: memoryview, span: Span, sink: Sink) -> int:
    await sink.write(data[: span.length])
    return min(len(data), span.length)
