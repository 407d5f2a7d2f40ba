"""At most one download of a digest, for all who want it; given up when nobody does any more."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.caching.download import Download
from registryd.caching.fetching import BlobFetch
from registryd.content.writer import ContentMismatch
from registryd.upstream.recent import Recent

if TYPE_CHECKING:
    from registryd.aio.scope import Scope
    from registryd.caching.keeping import Keeper
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.patience import CachePatience
    from registryd.caching.upstreams import Upstreams
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository

_log = logging.getLogger(__name__)

_MOST_SUSPECTS: Final = 4096


class Downloads:
    """Those that are running, by digest; the scope owns them."""

    def __init__(
        self,
        upstreams: Upstreams,
        store: Keeper,
        *,
        scope: Scope,
        metrics: CacheMetrics,
        patience: CachePatience,
    ) -> None:
        self._upstreams = upstreams
        self._store = store
        self._scope = scope
        self._metrics = metrics
        self._patience = patience
        self._running: dict[Digest, Download] = {}
        self._suspects: Recent[Digest, bool] = Recent(_MOST_SUSPECTS)

    def join(self, repository: Repository, digest: Digest) -> Download:
        """The download of this digest, begun now if it is not running. Hold it before waiting for anything."""
        download = self._running.get(digest)
        if download is None or download.is_over:
            download = Download(digest, is_suspect=self._suspects.get(digest) is not None)
            self._running[digest] = download
            self._scope.run(partial(self._run, download, repository), name=f"download {digest}")
        return download

    async def _run(self, download: Download, repository: Repository) -> None:
        fetch = BlobFetch(self._upstreams, repository, download.digest, observer=self._metrics)
        work = asyncio.create_task(download.run(fetch, self._store), name=f"receive {download.digest}")
        try:
            await _end_when_unread(work, download, seconds=self._patience.unread)
        except ContentMismatch as error:
            self._suspect(download.digest, fetch, error)
        finally:
            if self._running.get(download.digest) is download:
                self._running.pop(download.digest)

    def _suspect(self, digest: Digest, fetch: BlobFetch, error: ContentMismatch) -> None:
        _log.warning("wrong content", extra={"digest": str(digest), "from": sorted(map(str, fetch.sites))})
        _log.debug("wrong content: %s", error)
        self._metrics.mismatched()
        self._suspects.put(digest, True)  # noqa: FBT003 - a set with a bound
        for site in fetch.sites:
            self._upstreams.blame(site, digest)


async def _end_when_unread(work: asyncio.Task[None], download: Download, *, seconds: float) -> None:
    """Wait for the work, or cancel it when nobody read during one whole interval."""
    unread = False
    try:
        while not (await asyncio.wait((work,), timeout=seconds))[0]:
            if unread and not download.readers:
                work.cancel()
            unread = not download.readers
    finally:
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        work.result()
