"""Blobs: from the store, from a download under way, or past the store when it cannot take them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.caching.fetching import BlobFetch
from registryd.caching.following import FollowingBody, PassingBody
from registryd.content.lookup import Hit, Origin
from registryd.content.source import Content, ContentNotFound, NotForName, OpenContent, StoreUnavailable
from registryd.oci.errors import RangeInvalid
from registryd.transfer.errors import SourceBroken, SourcesExhausted
from registryd.transfer.resume import ResumingBody
from registryd.upstream.errors import UpstreamBroken, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registryd.caching.download import Download
    from registryd.caching.downloads import Downloads
    from registryd.caching.filing import Claims, Filing
    from registryd.caching.keeping import CacheStore
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.patience import CachePatience
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span
    from registryd.oci.reference import Repository
    from registryd.transfer.body import Body

_log = logging.getLogger(__name__)

# Larger than any content: where a range would begin in it says whether the range begins at the start.
_ANY_SIZE: Final = 1 << 62


class BlobOpener:
    """Opens blobs, from the store or from an upstream."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        store: CacheStore,
        filing: Filing,
        claims: Claims,
        downloads: Downloads,
        upstreams: Upstreams,
        *,
        metrics: CacheMetrics,
        patience: CachePatience,
    ) -> None:
        self._store = store
        self._filing = filing
        self._claims = claims
        self._downloads = downloads
        self._upstreams = upstreams
        self._metrics = metrics
        self._patience = patience

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """The answer to a HEAD; fetches no content. Raises ContentUnavailable."""
        try:
            return Hit(Origin.LOCAL, await self._filing.find(repository, digest))
        except ContentNotFound:
            return Hit(Origin.UPSTREAM, await self._find_upstream(repository, digest))

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """The bytes, at the latest when the first of them is here. Raises ContentUnavailable, or RangeInvalid."""
        try:
            return Hit(Origin.LOCAL, await self._filing.open(repository, digest, wanted))
        except NotForName:
            if await self._claims.claim_blob(repository, digest):
                return Hit(Origin.LOCAL, await self._filing.open(repository, digest, wanted))
        except ContentNotFound:
            pass
        except StoreUnavailable as error:
            _log.warning("the store cannot be read: %s", error)
        download = self._downloads.join(repository, digest, from_start=_is_from_start(wanted))
        if download and (opened := await self._follow(repository, download, wanted)):
            return Hit(Origin.UPSTREAM, opened, is_stored=download.is_stored)
        return Hit(Origin.UPSTREAM, await self._pass(repository, digest, wanted))

    async def store(self, repository: Repository, digest: Digest) -> None:
        """Return when it is in the store, fetched if need be. Raises ContentUnavailable."""
        download = self._downloads.join(repository, digest, from_start=True)
        if download is not None:
            with download.reading():
                await download.wait_readable(await download.wait_size())
            if download.is_stored:
                return
        raise StoreUnavailable(f"{digest} could not be stored")

    async def _follow(self, repository: Repository, download: Download, wanted: RangeOf) -> OpenContent | None:
        """Follow the download; None for bytes that it does not have any more, or will not have soon."""
        with download.reading() as reader:
            size = await download.wait_size()
            span = wanted(size)
            reader.position = span.start
            if not download.has(span.start):
                return None
            try:
                async with asyncio.timeout(self._patience.ranges if span.start else None):
                    await download.wait_readable(span.start)
            except TimeoutError:
                return None
            body = FollowingBody(download, span)
        content = self._content(download.digest, size)
        return OpenContent(content, span, ResumingBody(body, span, self._reopener(repository, content)))

    def _reopener(self, repository: Repository, content: Content) -> Callable[[Span, SourceBroken], Awaitable[Body]]:
        async def reopen(rest: Span, _: SourceBroken) -> Body:
            _log.info("the rest of the content is fetched for one client alone", extra={"digest": str(content.digest)})
            try:
                return await self._passing(repository, content, rest)
            except UpstreamFailed as error:
                raise SourcesExhausted(str(error)) from error

        return reopen

    async def _pass(self, repository: Repository, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Give the content straight from the upstream. The cache has to know the size before the range, by a HEAD."""
        content = await self._find_upstream(repository, digest)
        span = wanted(content.size)
        return OpenContent(content, span, await self._passing(repository, content, span))

    async def _find_upstream(self, repository: Repository, digest: Digest) -> Content:
        """The content as the upstream describes it: its size, or the manifest itself."""
        known = self._store.described(digest)
        size = await self._upstreams.head_blob(repository, digest)
        if size is None and known is None:
            raise UpstreamBroken(f"{repository.registry}: does not say the size of {digest}")
        return self._content(digest, known.size if size is None and known else size or 0)

    def _content(self, digest: Digest, size: int) -> Content:
        known = self._store.described(digest)
        return Content(digest, size, known.media_type if known else None)

    async def _passing(self, repository: Repository, content: Content, span: Span) -> PassingBody:
        self._metrics.unstored()
        fetch = BlobFetch(
            self._upstreams,
            repository,
            content.digest,
            observer=self._metrics,
            start=span.start,
            expected=content.size,
        )
        try:
            await fetch.open()
        except BaseException:
            await fetch.aclose()
            raise
        return PassingBody(fetch, span)


def _is_from_start(wanted: RangeOf) -> bool:
    try:
        return not wanted(_ANY_SIZE).start
    except RangeInvalid:
        return False
