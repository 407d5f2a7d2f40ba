"""Whether all of an image can be had: for clients that go nowhere else once they have its manifest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from registryd.content.reading import read_content
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registryd.oci.platform import distributed, runnable_manifests

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from registryd.content.source import ContentSource
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.platform import Platform

# The official images are for some ten platforms, each with an attestation.
_MOST_MANIFESTS: Final = 64
_AT_ONCE: Final = 16


class Incomplete(ContentNotFound):
    """A manifest is there, and `piece`, which it leads to, is not."""

    def __init__(self, piece: Descriptor) -> None:
        super().__init__(f"{piece.digest}, which belongs to it, is not to be had here")
        self.piece = piece


async def require_all(root: Digest, source: ContentSource, platforms: Collection[Platform]) -> None:
    """Return when the source has all of an image, of an index all of one for the platforms (none: for any).

    Raises Incomplete, or ContentUnavailable when the manifest itself cannot be read.
    """
    await _Walk(source, platforms).require(root)


class _Walk:
    def __init__(self, source: ContentSource, platforms: Collection[Platform]) -> None:
        self._source = source
        self._platforms = platforms
        self._left = _MOST_MANIFESTS

    async def require(self, digest: Digest) -> None:
        data = await read_content(self._source, digest, limit=MAX_MANIFEST_SIZE)
        try:
            manifest = parse_manifest(data)
        except ManifestInvalid as error:
            raise ContentUnavailable(f"{digest} is not a manifest: {error}") from error
        if manifest.media_type in INDEX_TYPES:
            await self._require_one(runnable_manifests(data, self._platforms))
        else:
            await self._require_blobs([*distributed(manifest.children)])

    async def _require_one(self, candidates: Iterable[Descriptor]) -> None:
        """Require that one of these images is complete; else raises the error of the last image."""
        lack: Incomplete | None = None
        for child in candidates:
            lack = await self._lack_of(child)
            if lack is None:
                return
        if lack:
            raise lack

    async def _lack_of(self, child: Descriptor) -> Incomplete | None:
        self._left -= 1
        if self._left < 0:
            return Incomplete(child)
        try:
            await self.require(child.digest)
        except Incomplete as error:
            return error
        except ContentUnavailable:
            return Incomplete(child)
        return None

    async def _require_blobs(self, blobs: Sequence[Descriptor]) -> None:
        for first in range(0, len(blobs), _AT_ONCE):
            some = blobs[first : first + _AT_ONCE]
            found = await asyncio.gather(*(self._source.find(blob.digest) for blob in some), return_exceptions=True)
            for blob, outcome in zip(some, found, strict=True):
                if isinstance(outcome, ContentUnavailable):
                    raise Incomplete(blob) from outcome
                if isinstance(outcome, BaseException):
                    raise outcome
