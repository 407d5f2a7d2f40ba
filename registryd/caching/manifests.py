"""Manifests by digest: from the store, or fetched once for all who ask, verified, and kept."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.shared import Shared
from registryd.content.lookup import Hit, Origin
from registryd.content.source import Content, ContentNotFound, OpenContent, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress
from registryd.oci.descriptor import Descriptor
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import is_manifest_type, parse_manifest
from registryd.transfer.body import BytesBody
from registryd.upstream.errors import UpstreamBroken

if TYPE_CHECKING:
    from registryd.aio.scope import Scope
    from registryd.caching.keeping import Keeper
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.naming import Naming
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import RangeOf
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Reference, Repository

_log = logging.getLogger(__name__)


class Manifests:
    """Finds and opens manifests; only the one that was asked for is fetched, not what it refers to."""

    def __init__(
        self, store: Keeper, upstreams: Upstreams, naming: Naming, *, scope: Scope, metrics: CacheMetrics
    ) -> None:
        self._store = store
        self._upstreams = upstreams
        self._naming = naming
        self._metrics = metrics
        self._fetches: Shared[Digest, bytes] = Shared(scope)

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """What a HEAD is told; nothing is fetched. Raises ContentUnavailable."""
        try:
            return Hit(Origin.LOCAL, await self._store.find(digest))
        except ContentNotFound:
            head = await self._upstreams.head_manifest(repository, digest)
        if head.size is None or not is_manifest_type(head.media_type) or head.digest not in {None, digest}:
            raise UpstreamBroken(f"{repository.registry}: does not say what {digest} is")
        return Hit(Origin.UPSTREAM, Content(digest, head.size, head.media_type))

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """The bytes. Raises ContentUnavailable, or RangeInvalid."""
        try:
            return Hit(Origin.LOCAL, await self._store.open(digest, wanted))
        except (ContentNotFound, StoreUnavailable):
            fetch = partial(self._fetch, repository, digest)
            data = await self._fetches.get(digest, fetch, name=f"fetch {digest}")
        span = wanted(len(data))
        content = Content(digest, len(data), _descriptor(digest, data).media_type)
        return Hit(Origin.UPSTREAM, OpenContent(content, span, BytesBody(data[span.start : span.stop])))

    async def fetch_tag(self, repository: Repository, reference: Reference) -> Descriptor:
        """Fetch and keep what a tag means, where HEAD does not say enough. Raises ContentUnavailable."""
        got = await self._upstreams.get_manifest(repository, reference)
        descriptor = _descriptor(got.digest, got.data)
        await self._keep(descriptor, got.data)
        return descriptor

    async def _fetch(self, repository: Repository, digest: Digest) -> bytes:
        got = await self._upstreams.get_manifest(repository, digest)
        await self._keep(_descriptor(digest, got.data), got.data)
        return got.data

    async def _keep(self, descriptor: Descriptor, data: bytes) -> None:
        """Into the store, and under the names that lead to it. A store that cannot take it changes nothing else."""
        try:
            ingest = await self._store.begin(descriptor.digest, size=len(data))
            try:
                await ingest.write(data)
                await ingest.commit()
            finally:
                await ingest.aclose()
            await self._naming.arrived(descriptor)
        except (StoreUnavailable, IngestInProgress, ContentMismatch) as error:
            _log.warning("a manifest is not stored: %s", error)
            self._metrics.unstored()


def _descriptor(digest: Digest, data: bytes) -> Descriptor:
    """What the bytes are by their own account; raises UpstreamBroken for what is no manifest."""
    try:
        return Descriptor(parse_manifest(data).media_type, digest, len(data))
    except ManifestInvalid as error:
        raise UpstreamBroken(f"{digest} is not a manifest: {error}") from error
