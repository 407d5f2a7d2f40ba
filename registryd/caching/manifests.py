"""Manifests by digest: from the store, or fetched once for all clients, verified, and kept."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.recent import Recent
from registryd.aio.shared import Shared
from registryd.aio.turns import Turns
from registryd.content.lookup import Hit, Origin
from registryd.content.reading import read_opened
from registryd.content.source import Content, ContentNotFound, NotForName, OpenContent, StoreUnavailable
from registryd.content.writer import ContentMismatch, IngestInProgress
from registryd.oci.descriptor import INDEX_TYPES, Descriptor
from registryd.oci.digest import Digest
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest
from registryd.oci.ranges import Span
from registryd.oci.reference import DigestedName, TaggedName
from registryd.transfer.body import BytesBody
from registryd.upstream.errors import HeadRefused, UpstreamBroken, UpstreamFailed
from registryd.upstream.inflight import InFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from registryd.aio.scope import Scope
    from registryd.caching.filing import Claims, Filing
    from registryd.caching.keeping import CacheStore
    from registryd.caching.metrics import CacheMetrics
    from registryd.caching.naming import TagFiling
    from registryd.caching.upstreams import Upstreams
    from registryd.content.source import RangeOf
    from registryd.oci.manifest import Manifest
    from registryd.oci.reference import FullName, Repository, Tag

_log = logging.getLogger(__name__)

# Questions to upstreams for which no client waits: whether the upstream has the content that is here by digest, too.
_MOST_QUESTIONS: Final = 16
_MOST_REFUSED: Final = 4096
_REFUSAL_HOLDS_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest that has just come from an upstream; `is_stored`: it is in the store now."""

    target: Descriptor
    data: bytes
    is_stored: bool

    def found(self) -> Hit[Content]:
        """The manifest's size and type."""
        content = Content(self.target.digest, self.target.size, self.target.media_type)
        return Hit(Origin.UPSTREAM, content, is_stored=self.is_stored)

    def opened(self, wanted: RangeOf) -> Hit[OpenContent]:
        """The manifest's bytes, for a client. Raises RangeInvalid."""
        span = wanted(len(self.data))
        content = Content(self.target.digest, self.target.size, self.target.media_type)
        opened = OpenContent(content, span, BytesBody(self.data[span.start : span.stop]))
        return Hit(Origin.UPSTREAM, opened, is_stored=self.is_stored)


class Manifests:
    """Finds and opens manifests; fetches only the requested manifest, not the content to which it refers."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        store: CacheStore,
        upstreams: Upstreams,
        naming: TagFiling,
        *,
        filing: Filing,
        claims: Claims,
        scope: Scope,
        metrics: CacheMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._filing = filing
        self._claims = claims
        self._upstreams = upstreams
        self._naming = naming
        self._metrics = metrics
        self._clock = clock
        self._fetches: Shared[DigestedName, Fetched] = Shared(scope)
        self._keeping: Turns[Digest] = Turns()
        self._questions: InFlight[DigestedName] = InFlight(scope, most=_MOST_QUESTIONS)
        self._refused: Recent[DigestedName, float] = Recent(_MOST_REFUSED)

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """The answer to a HEAD; fetches no content. Raises ContentUnavailable."""
        try:
            return Hit(Origin.LOCAL, await self._filing.find(repository, digest))
        except ContentNotFound:
            pass
        with suppress(HeadRefused):
            head = await self._upstreams.head_manifest(repository, digest)
            if head.size is not None and is_manifest_type(head.media_type) and head.digest in {None, digest}:
                return Hit(Origin.UPSTREAM, Content(digest, head.size, head.media_type))
        # The answer has no type: a GET tells, as it would tell the client, which asks for it next.
        return (await self._fetched(repository, digest)).found()

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """The bytes. Raises ContentUnavailable, or RangeInvalid."""
        try:
            opened = await self._open_stored(repository, digest, wanted)
        except (ContentNotFound, StoreUnavailable):
            return (await self._fetched(repository, digest)).opened(wanted)
        self._lead_on(repository, self._store.manifest(digest))
        await self._find_out(DigestedName(repository, digest), opened.content)
        return Hit(Origin.LOCAL, opened)

    async def read(self, repository: Repository, digest: Digest, *, fetches: bool) -> bytes:
        """All bytes of a manifest in the store, stored now if it may be fetched. Raises ContentUnavailable."""
        try:
            data = await self.read_stored(repository, digest)
        except ContentNotFound:
            if not fetches:
                raise
            fetched = await self._fetched(repository, digest)
            if not fetched.is_stored:
                raise StoreUnavailable(f"{digest} could not be stored") from None
            data = fetched.data
        self._lead_on(repository, self._store.manifest(digest))
        return data

    async def read_stored(self, repository: Repository, digest: Digest) -> bytes:
        """All bytes of a manifest of that repository in the store. Raises ContentUnavailable."""
        return await read_opened(await self._open_stored(repository, digest, Span.whole), limit=MAX_MANIFEST_SIZE)

    async def _open_stored(self, repository: Repository, digest: Digest, wanted: RangeOf) -> OpenContent:
        """Open stored content of that repository, or content that the upstream confirms for that repository."""
        try:
            return await self._filing.open(repository, digest, wanted)
        except NotForName:
            if not await self._claims.claim_manifest(repository, digest):
                raise
        return await self._filing.open(repository, digest, wanted)

    async def fetch_tag(self, repository: Repository, tag: Tag) -> Fetched:
        """Fetch, keep and name what a tag means, where that is not known, or HEAD does not say it.

        Raises ContentUnavailable.
        """
        got = await self._upstreams.get_manifest(repository, tag)
        self._naming.leads_to(repository, (got.digest,))
        names = {*self._naming.take_names(repository, got.digest), TaggedName(repository, tag)}
        return await self._keep(repository, got.digest, got.data, names)

    async def take_in(self, repository: Repository, name: TaggedName, data: bytes) -> None:
        """Keep a manifest under a name; without an answer, for who has it anyway. Raises UpstreamBroken."""
        await self._keep(repository, Digest.of(data), data, (name,))

    async def _fetched(self, repository: Repository, digest: Digest) -> Fetched:
        # Not one for all repositories: each has an answer of its own, and a name for what it gave.
        name = DigestedName(repository, digest)
        return await self._fetches.get(name, partial(self._fetch, repository, digest), name=f"fetch {name}")

    async def _fetch(self, repository: Repository, digest: Digest) -> Fetched:
        got = await self._upstreams.get_manifest(repository, digest)
        return await self._keep(repository, digest, got.data, self._naming.take_names(repository, digest))

    async def _keep(self, repository: Repository, digest: Digest, data: bytes, names: Collection[FullName]) -> Fetched:
        """Store the manifest under these names. A store that cannot take the manifest changes nothing else."""
        manifest = _parsed(digest, data)
        self._lead_on(repository, manifest)
        target = Descriptor(manifest.media_type, digest, len(data))
        try:
            # The same manifest of several images, or a list of nothing, may come at once: each leaves its own names.
            async with self._keeping.turn(digest):
                await self._store.put_manifest(digest, data, manifest, names, repository=repository)
        except (StoreUnavailable, IngestInProgress, ContentMismatch) as error:
            _log.warning("a manifest could not be stored: %s", error)
            self._metrics.unstored()
            return Fetched(target, data, is_stored=False)
        return Fetched(target, data, is_stored=True)

    async def _find_out(self, name: DigestedName, content: Content) -> None:
        """Name content that is here, perhaps of another repository, when the name's registry says that it has it."""
        media_type = content.media_type
        if media_type is None or not is_manifest_type(media_type):
            return
        await self._naming.name_awaited(Descriptor(media_type, name.digest, content.size))
        if self._naming.is_led_to(name.repository, name.digest) or await self._naming.latest(name):
            return
        refused_at = self._refused.get(name)
        if refused_at is None or self._clock() - refused_at >= _REFUSAL_HOLDS_SECONDS:
            target = Descriptor(media_type, name.digest, content.size)
            self._questions.start(name, partial(self._ask_for_name, name, target), name=f"is {name} there")

    async def _ask_for_name(self, name: DigestedName, target: Descriptor) -> None:
        try:
            is_given = await self._upstreams.gives_manifest(name.repository, name.digest)
        except UpstreamFailed:
            self._refused.put(name, self._clock())
            return
        if is_given:
            await self._naming.name({name}, target)

    def _lead_on(self, repository: Repository, manifest: Manifest | None) -> None:
        if manifest and manifest.media_type in INDEX_TYPES:
            self._naming.leads_to(repository, (child.digest for child in manifest.children))


def _parsed(digest: Digest, data: bytes) -> Manifest:
    """The manifest that the bytes are by their own account. Raises UpstreamBroken for bytes that are no manifest."""
    try:
        return parse_manifest(data)
    except ManifestInvalid as error:
        raise UpstreamBroken(f"{digest} is not a manifest: {error}") from error
