"""From a request's path to content, for the door of a cache."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from registryd.content.completeness import Incomplete, require_all
from registryd.content.lookup import Hit, Origin
from registryd.content.source import Content, ContentNotFound, ContentUnavailable
from registryd.oci.digest import Digest
from registryd.oci.manifest import is_manifest_type
from registryd.oci.reference import TaggedName
from registryd.serving.paths import BlobPath
from registryd.upstream.errors import UpstreamFailed

if TYPE_CHECKING:
    from registryd.caching.bounds import Bounds
    from registryd.caching.filing import Filing
    from registryd.caching.tags import TagMeaning
    from registryd.content.source import OpenContent, RangeOf
    from registryd.oci.reference import Repository
    from registryd.serving.paths import ContentPath, ManifestPath


class ContentOfRepositories(Protocol):
    """Content by digest, of a repository that it may have to be fetched from."""

    async def find(self, repository: Repository, digest: Digest) -> Hit[Content]:
        """What it is. Raises ContentUnavailable."""

    async def open(self, repository: Repository, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        """Its bytes; the caller closes the body. Raises ContentUnavailable, or RangeInvalid."""


class TagsOfRepositories(Protocol):
    """The meanings of tags."""

    async def resolve(self, name: TaggedName, *, fetches: bool = False) -> TagMeaning:
        """The meaning of this tag; `fetches`: its manifest is wanted as well. Raises ContentUnavailable."""


class CacheLocator:
    """Finds what a path means here or upstream; what is not given is Unlocated, with the reason that it has."""

    def __init__(
        self,
        *,
        filing: Filing,
        bounds: Bounds,
        tags: TagsOfRepositories,
        manifests: ContentOfRepositories,
        blobs: ContentOfRepositories,
    ) -> None:
        """`bounds` hold up to the first byte."""
        self._filing = filing
        self._bounds = bounds
        self._tags = tags
        self._manifests = manifests
        self._blobs = blobs

    async def find(self, path: ContentPath) -> Hit[Content]:
        """The answer to a HEAD. Raises Unlocated."""
        return await self._bounds.answer(path, path.reference, lambda: self._find(path), resolves=True)

    async def open(self, path: ContentPath, wanted: RangeOf) -> Hit[OpenContent]:
        """The answer to a GET; the caller closes its body. Raises Unlocated, or RangeInvalid."""
        resolves = not isinstance(path.reference, Digest)
        return await self._bounds.answer(path, path.reference, lambda: self._open(path, wanted), resolves=resolves)

    async def _find(self, path: ContentPath) -> Hit[Content]:
        if isinstance(path, BlobPath):
            return await self._blobs.find(path.repository, path.reference)
        if isinstance(path.reference, Digest):
            await self._require_all(path, path.reference)
            hit = await self._manifests.find(path.repository, path.reference)
            _require_manifest(hit.value)
            return hit
        # Answered from what the tag's own HEAD said: nothing has to be fetched for it.
        meaning = await self._tags.resolve(TaggedName(path.repository, path.reference))
        target = meaning.target
        await self._require_all(path, target.digest)
        return Hit(Origin.LOCAL, Content(target.digest, target.size, target.media_type), meaning.stale)

    async def _open(self, path: ContentPath, wanted: RangeOf) -> Hit[OpenContent]:
        if isinstance(path, BlobPath):
            return await self._blobs.open(path.repository, path.reference, wanted)
        if isinstance(path.reference, Digest):
            return await self._open_manifest(path, path.reference, wanted)
        meaning = await self._tags.resolve(TaggedName(path.repository, path.reference), fetches=True)
        if meaning.fetched:
            return meaning.fetched.opened(wanted)
        hit = await self._open_manifest(path, meaning.target.digest, wanted)
        return replace(hit, stale=meaning.stale)

    async def _open_manifest(self, path: ManifestPath, digest: Digest, wanted: RangeOf) -> Hit[OpenContent]:
        await self._require_all(path, digest)
        hit = await self._manifests.open(path.repository, digest, wanted)
        try:
            _require_manifest(hit.value.content)
        except ContentNotFound:
            await hit.value.body.aclose()
            raise
        return hit

    async def _require_all(self, path: ManifestPath, digest: Digest) -> None:
        """Require the blobs, here or upstream: a client that asks no other registry gets no manifest without them."""
        if not path.stays:
            return
        try:
            await require_all(digest, self._filing.of(path.repository), platforms=())
        except Incomplete as lack:
            lacking = lack.piece
            source = self._manifests if is_manifest_type(lacking.media_type) else self._blobs
            try:
                await source.find(path.repository, lacking.digest)
            except UpstreamFailed as reason:
                raise _lacking(lacking.digest, reason) from reason
            except ContentNotFound as reason:
                raise lack from reason
        except ContentUnavailable:
            return  # nothing is known of it here, so it comes from upstream, if at all


def _lacking(piece: Digest, reason: UpstreamFailed) -> UpstreamFailed:
    """The same failure, with the content that is lacking because of it. The manifest itself is here."""
    failure = copy(reason)
    failure.args = (f"{piece}, which belongs to it, is not here, and cannot be had: {reason}",)
    return failure


def _require_manifest(content: Content) -> None:
    if not is_manifest_type(content.media_type):
        raise ContentNotFound("that content is not a manifest")
