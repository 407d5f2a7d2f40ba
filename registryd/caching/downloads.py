"""At most one download of a digest from a registry, for all clients that want it; given up without a client."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.caching.download import Download
from registryd.caching.fetching import BlobFetch
from registryd.caching.window import WindowMemory
from registryd.content.source import StoreUnavailable
from registryd.content.writer import ContentMismatch, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.aio.scope import Scope
    from registryd.caching.keeping import CacheStore
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.patience import CachePatience
    from registryd.caching.upstreams import Upstreams
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Registry, Repository

_log = logging.getLogger(__name__)

_MOST_SUSPECTS: Final = 4096
# Content that was wrong is shown only when verified, for so long: by then the upstream is repaired, or never will be.
_SUSPECT_SECONDS: Final = 600.0
# For all content that goes past the store at a time: a middling layer as a whole, so that late clients find its
# beginning, or a piece of each of the many layers that a rollout brings.
_WINDOW_BYTES: Final = 64 * 1024 * 1024
# After the store had no room, content goes past it without asking for room each time. Short: room may be made.
_FULL_SECONDS: Final = 5.0


class Downloads:
    """The running downloads, by digest and registry; the scope owns them."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        upstreams: Upstreams,
        store: CacheStore,
        *,
        scope: Scope,
        metrics: CacheMetrics,
        clock: Callable[[], float],
        patience: CachePatience,
    ) -> None:
        self._upstreams = upstreams
        self._store = store
        self._scope = scope
        self._metrics = metrics
        self._clock = clock
        self._patience = patience
        self.memory = WindowMemory(_WINDOW_BYTES)
        self.behind_seconds = patience.behind
        self._full_until = float("-inf")
        self._fits = 0
        self._running: dict[tuple[Digest, Registry], Download] = {}
        self._suspects: Recent[Digest, float] = Recent(_MOST_SUSPECTS)

    def join(self, repository: Repository, digest: Digest, *, from_start: bool) -> Download | None:
        """The download of this digest from that registry, begun now if there is none that has what of it is wanted.

        None when it would go past the store and only some of it is wanted. Enter it before waiting for anything.
        """
        key = digest, repository.registry
        download = self._running.get(key)
        is_gone = download is None or (download.is_over and not download.is_in_memory)
        if download is None or is_gone or (from_start and not download.has(0)):
            if not from_start and self._is_full_for(self._size_of(digest)):
                return None
            download = Download(digest, self, is_suspect=self._is_suspect(digest))
            self._running[key] = download
            self._scope.run(partial(self._run, download, repository), name=f"download {digest}")
        return download

    def not_stored(self, why: Exception) -> None:
        """As `Circumstances` has it."""
        self._metrics.unstored()
        if isinstance(why, StoreUnavailable):
            if not self._is_full_for(None):
                _log.warning("content is sent without being stored: %s", why)
            self._full_until = self._clock() + _FULL_SECONDS
            self._fits = why.fits if isinstance(why, StoreFull) else 0

    def _is_full_for(self, size: int | None) -> bool:
        """Whether the store lately refused this size or less. A layer that is too large keeps no other content out."""
        return self._clock() < self._full_until and (size is None or size > self._fits)

    def _size_of(self, digest: Digest) -> int | None:
        known = self._store.described(digest)
        return known.size if known else None

    def _is_suspect(self, digest: Digest) -> bool:
        wrong_at = self._suspects.get(digest)
        return wrong_at is not None and self._clock() - wrong_at < _SUSPECT_SECONDS

    async def _run(self, download: Download, repository: Repository) -> None:
        size = self._size_of(download.digest)
        fetch = BlobFetch(
            self._upstreams,
            repository,
            download.digest,
            observer=self._metrics,
            expected=size,
            is_verified=True,
        )
        store = None if self._is_full_for(size) else self._store
        if store is None:
            self._metrics.unstored()
        work = asyncio.create_task(download.run(fetch, store), name=f"receive {download.digest}")
        try:
            await _end_when_unread(work, download, seconds=self._patience.unread)
            if download.is_in_memory:
                await self._linger()
        except ContentMismatch as error:
            self._suspect(download, fetch, error)
        finally:
            key = download.digest, repository.registry
            if self._running.get(key) is download:
                self._running.pop(key)
            download.drop()

    async def _linger(self) -> None:
        """Wait for further clients: clients of the same content do not all come before the first client has it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience.unread):
                await self.memory.wait_wanted()

    def _suspect(self, download: Download, fetch: BlobFetch, error: ContentMismatch) -> None:
        digest, sites = download.digest, sorted(map(str, fetch.sites))
        _log.warning(
            "wrong content", extra={"digest": str(digest), "from": sites, "some_kept_from_before": download.is_resumed}
        )
        _log.debug("wrong content: %s", error)
        self._metrics.mismatched()
        self._suspects.put(digest, self._clock())
        # Otherwise it may have been what somebody sent before, or the manifest is what lies.
        if not (download.is_resumed or fetch.is_longer):
            for site in fetch.sites:
                self._upstreams.blame(site, digest)


async def _end_when_unread(work: asyncio.Task[None], download: Download, *, seconds: float) -> None:
    """Wait for the work. Cancel the work when no client read during a whole interval."""
    unread = False
    try:
        while not (await asyncio.wait((work,), timeout=seconds))[0]:
            if unread and not download.is_read:
                download.is_over = True  # for whoever comes now
                work.cancel()
            unread = not download.is_read
    finally:
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        work.result()
