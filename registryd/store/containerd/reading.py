"""Reading the manifests among the content, once each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.store.containerd.documents import Documents
    from registryd.store.containerd.presence import Located
    from registryd.store.containerd.route import Route

# An index has one manifest per platform, rarely more than forty with their attestations.
_MOST_DOCUMENTS_OF_AN_IMAGE: Final = 256

_log = logging.getLogger(__name__)


class DocumentReader:
    """Knows the media types of content: from documents that an image leads to, or that were asked for themselves."""

    def __init__(self, documents: Documents, route: Route) -> None:
        self._documents = documents
        self._route = route

    async def media_type(self, located: Located) -> str | None:
        """The media type as Content defines it. Raises ContentNotFound, StoreUnavailable."""
        if located.size <= MAX_MANIFEST_SIZE:
            await self._look_at(located.digest, located.namespace)
        return self._documents.media_type(located.digest)

    def known_media_type(self, digest: Digest) -> str | None:
        """The media type of unreadable content, as known from the documents read so far."""
        return self._documents.media_type(digest)

    def known_digests(self) -> Iterator[Digest]:
        """All that images here consist of, for whatever platform, whether or not it is here."""
        return self._documents.digests()

    def keep_only(self, roots: Iterable[Digest]) -> None:
        """Forget what these images' targets do not lead to."""
        self._documents.keep(roots)

    async def walk(self, root: Digest, namespace: str) -> None:
        """Look at an image's target and all manifests that it leads to; those of other platforms may be absent.

        What cannot be read now is looked at again when somebody asks for it.
        """
        pending, seen = [root], {root}
        while pending and len(seen) < _MOST_DOCUMENTS_OF_AN_IMAGE:
            digest = pending.pop()
            try:
                await self._look_at(digest, namespace)
            except ContentUnavailable as error:
                _log.debug("%s of image %s: %s", digest, root, error)
            children = set(self._documents.child_documents(digest)) - seen
            seen |= children
            pending += children
        # Documents in the page cache are read without a pause: let others run between two images.
        await asyncio.sleep(0)

    async def _look_at(self, digest: Digest, namespace: str) -> None:
        """Learn from a manifest or an index when the agent is asked about it for the first time.

        The media type is that of the document itself, because a registry would serve the document with it. A descriptor
        in an index can give any media type for another image's manifest. Raises ContentNotFound, StoreUnavailable.
        """
        if self._documents.has_seen(digest):
            return
        data = await self._route.blobs.read_document(digest, namespace)
        manifest = _manifest(digest, data) if data else None
        if manifest:
            self._documents.learn(digest, manifest)
        else:
            self._documents.dismiss(digest)


def _manifest(digest: Digest, data: bytes) -> Manifest | None:
    try:
        # A file that is damaged must not teach us anything.
        return parse_manifest(data) if digest.verifies(data) else None
    except ManifestInvalid:
        return None
