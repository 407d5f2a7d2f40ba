"""Blobs: from the store, from a download under way, or past the store when it cannot take them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.caching.fetching import BlobFetch
from registryd.caching.following import FollowingBody, PassingBody
from registryd.content.lookup import Hit, Origin
from registryd.content.source import Content, ContentNotFound, OpenContent, StoreUnavailable
from registryd.transfer.errors import SourcesExhausted
from registryd.transfer.resume import ResumingBody
from registryd.upstream.errors import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.caching.downloads import Downloads
    from registryd.caching.keeping import Keeper
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.patience import CachePatience
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository
    from registryd.transfer.body import Body

_log = logging.getLogger(__name__)

# After the store had no room, content goes past it without asking for room each time. Short: room may be made.
_FULL_SECONDS: Final = 5.0


class Blobs:
    """Opens blobs, whoever has them."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        store: Keeper,
        downloads: Downloads,
        upstreams: Upstreams,
        *,
        metrics: CacheMetrics,
        clock: Callable[[], float],
        patience: CachePatience,
    ) -> None:
        self._store = store
        self._downloads = downloads
        self._upstreams = upstreams
        self._metrics = metrics
        self._clock = clock
        self._patience = patience
        self._full_until = float("-inf")

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """What a HEAD is told; nothing is fetched. Raises ContentUnavailable."""
        try:
            return Hit(Origin.LOCAL, await self._store.find(digest))
        except ContentNotFound:
            size = await self._upstreams.head_blob(repository, digest)
            return Hit(Origin.UPSTREAM, Content(digest, size, None))

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """The bytes, at the latest when the first of them is here. Raises ContentUnavailable, or RangeInvalid."""
        try:
            return Hit(Origin.LOCAL, await self._store.open(digest, wanted))
        except ContentNotFound:
            pass
        except StoreUnavailable as error:
            _log.warning("the store cannot be read: %s", error)
            return Hit(Origin.UPSTREAM, await self._pass(repository, digest, wanted))
        if self._clock() < self._full_until:
            return Hit(Origin.UPSTREAM, await self._pass(repository, digest, wanted))
        return Hit(Origin.UPSTREAM, await self._follow(repository, digest, wanted))

    async def _follow(self, repository: Repository, digest: Digest, wanted: RangeOf) -> OpenContent:
        download = self._downloads.join(repository, digest)
        with download.held():
            try:
                size = await download.wait_size()
                span = wanted(size)
                async with asyncio.timeout(self._patience.ranges if span.start else None):
                    await download.wait_readable(span.start)
            except StoreUnavailable as error:
                self._note_full(error)
                return await self._pass(repository, digest, wanted)
            except TimeoutError:
                return await self._pass(repository, digest, wanted)
            body = FollowingBody(download, span)
        content = Content(digest, size, None)
        return OpenContent(content, span, ResumingBody(body, span, self._reopener(repository, digest)))

    def _reopener(self, repository: Repository, digest: Digest) -> Callable[[Span], Awaitable[Body]]:
        async def reopen(rest: Span) -> Body:
            _log.warning("the store failed; sending the rest on without storing it", extra={"digest": str(digest)})
            try:
                return (await self._pass(repository, digest, lambda _: rest)).body
            except UpstreamFailed as error:
                raise SourcesExhausted(str(error)) from error

        return reopen

    def _note_full(self, error: StoreUnavailable) -> None:
        if self._clock() >= self._full_until:
            _log.warning("content goes past the store: %s", error)
        self._full_until = self._clock() + _FULL_SECONDS

    async def _pass(self, repository: Repository, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Straight from the upstream. The size has to be known before the range is, and costs a HEAD."""
        self._metrics.unstored()
        size = await self._upstreams.head_blob(repository, digest)
        span = wanted(size)
        fetch = BlobFetch(self._upstreams, repository, digest, observer=self._metrics, start=span.start)
        try:
            await fetch.open()
        except BaseException:
            await fetch.aclose()
            raise
        return OpenContent(Content(digest, size, None), span, PassingBody(fetch, span))
