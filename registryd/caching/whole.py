"""Images that are stored as a whole, because their client prefers so: their small content, in one request.

This is for clients that fill a cache with thousands of images. Large content is left to requests of its own, which show
their progress and can be continued.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import parse_manifest
from registryd.oci.platform import choose_manifests, distributed
from registryd.serving.preferring import Whole

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.caching.filing import Filing
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform
    from registryd.oci.reference import Repository

# A client that asks for it waits for everything: an upstream sends as much in moments.
_LARGEST_BLOB: Final = 128 * 1024
_MOST_PIECES: Final = 64
# Then it goes on piece by piece; the pieces that are on their way are not lost.
_LONGEST_SECONDS: Final = 10.0


class StoredManifests(Protocol):
    """Manifests, of a repository that they may have to be fetched from."""

    async def read(self, repository: Repository, digest: Digest, *, fetches: bool) -> bytes:
        """All of one, which is in the store by then. Raises ContentUnavailable."""


class StoredBlobs(Protocol):
    """Blobs, of a repository that they may have to be fetched from."""

    async def store(self, repository: Repository, digest: Digest) -> None:
        """Return when it is in the store. Raises ContentUnavailable."""


class NotForThis(ContentUnavailable):
    """The image is too large, or odd; piece by piece it may be had."""


@dataclass(slots=True)
class _Parts:
    """The contents of an image, as far as the walk has come."""

    manifests: dict[Digest, int] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)

    def take(self, digest: Digest, data: bytes, platforms: Collection[Platform]) -> Collection[Digest]:
        """Note a manifest and its blobs; gives the manifests that it refers to. Raises NotForThis."""
        self.manifests[digest] = len(data)
        try:
            manifest = parse_manifest(data)
        except ManifestInvalid as error:
            raise NotForThis(str(error)) from error
        if manifest.media_type in INDEX_TYPES:
            chosen = choose_manifests(data, platforms)
            if chosen.unmet:
                raise NotForThis("the image is not for all of these platforms")
            return [child.digest for child in chosen.manifests]
        self.blobs |= {child.digest: child for child in distributed(manifest.children)}
        if len(self.manifests) + len(self.blobs) > _MOST_PIECES:
            raise NotForThis(f"more than {_MOST_PIECES} pieces")
        return ()

    def whole(self) -> Whole:
        size = sum(self.manifests.values()) + sum(blob.size for blob in self.blobs.values())
        return Whole(len(self.manifests) + len(self.blobs), size)


class Wholes:
    """Sees to it that all of an image is in the store."""

    def __init__(self, filing: Filing, manifests: StoredManifests, blobs: StoredBlobs) -> None:
        self._filing = filing
        self._manifests = manifests
        self._blobs = blobs

    async def bring(
        self, repository: Repository, root: Digest, platforms: Collection[Platform], *, fetches: bool
    ) -> Whole | None:
        parts = _Parts()
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await self._walk(parts, repository, root, platforms, fetches=fetches)
                await self._bring_blobs(repository, await self._lacking(repository, parts), fetches=fetches)
        except (ContentUnavailable, TimeoutError):
            return None
        return parts.whole()

    async def _walk(
        self, parts: _Parts, repository: Repository, root: Digest, platforms: Collection[Platform], *, fetches: bool
    ) -> None:
        waiting = [root]
        while waiting:
            if (digest := waiting.pop()) not in parts.manifests:
                data = await self._manifests.read(repository, digest, fetches=fetches)
                waiting += parts.take(digest, data, platforms)

    async def _lacking(self, repository: Repository, parts: _Parts) -> list[Descriptor]:
        lacking = []
        for blob in parts.blobs.values():
            try:
                content = await self._filing.find(repository, blob.digest)
            except ContentNotFound:
                lacking.append(blob)
            else:
                if content.size != blob.size:
                    raise NotForThis(f"{blob.digest} has {content.size} bytes instead of {blob.size}")
        return lacking

    async def _bring_blobs(self, repository: Repository, lacking: Collection[Descriptor], *, fetches: bool) -> None:
        if lacking and (not fetches or max(blob.size for blob in lacking) > _LARGEST_BLOB):
            raise NotForThis("not all of it is here, or small")
        bringing = (self._blobs.store(repository, blob.digest) for blob in lacking)
        for outcome in await asyncio.gather(*bringing, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
