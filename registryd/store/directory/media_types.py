"""The media types of a layout's content, from its manifests, remembered."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, is_manifest_type, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.store.directory.layout import Layout

# Digests that are remembered, some 300 bytes each. Beyond, everything is forgotten and learnt again when asked for.
_MAX_DIGESTS: Final = 200_000
# Manifests above content that are looked at: a base layer is in that of every image that is built on it.
_MOST_ABOVE: Final = 1000
# JSON may begin with white space; a manifest that begins with more than this is not worth a look at every layer.
_PEEK_BYTES: Final = 64


class MediaTypes:
    """Media types by digest: a manifest's own, and those of content to which manifests and index.json refer.

    A digest always means the same bytes, so a media type stays true. Usable from several threads.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._manifests: dict[Digest, Manifest | None] = {}
        self._referred: dict[Digest, Descriptor] = {}
        self._parents: dict[Digest, tuple[Digest, ...]] = {}
        self._remembering = Lock()
        self.forgotten = 0
        """How often everything was forgotten."""

    def known(self, digest: Digest) -> str | None:
        """The media type, as far as it can be told without reading anything."""
        manifest = self._manifests.get(digest)
        if manifest:
            return manifest.media_type
        referred = self._referred.get(digest)
        # "It is a manifest" is for the manifest itself to say.
        return None if referred is None or is_manifest_type(referred.media_type) else referred.media_type

    def manifest(self, digest: Digest) -> Manifest | None:
        """The descriptor learnt of a manifest, without reading a file."""
        return self._manifests.get(digest)

    def described(self, digest: Digest) -> Descriptor | None:
        """The description of content, perhaps not here, in a manifest or index.json, without reading a file."""
        return self._referred.get(digest)

    def note(self, digest: Digest, data: bytes) -> None:
        """These are the verified bytes of content that has just come."""
        if digest not in self._manifests:
            self._remember(digest, _parse(data if data[:_PEEK_BYTES].lstrip().startswith(b"{") else None))

    def above(self, digest: Digest) -> Sequence[Digest]:
        """The content, the manifests that refer to it, and those that refer to them; a thousand at most."""
        found = {digest: None}
        waiting = [digest]
        while waiting and len(found) < _MOST_ABOVE:
            parents = self._parents.get(waiting.pop(), ())
            waiting += [parent for parent in parents if parent not in found]
            found.update(dict.fromkeys(parents))
        return tuple(found)

    def is_settled(self, digest: Digest) -> bool:
        """Whether `look_into` has nothing more to tell about this content."""
        return digest in self._manifests

    def look_into(self, digest: Digest, fd: int, size: int) -> Manifest | None:
        """Read open content and remember what it says if it is a manifest. Raises OSError."""
        if digest not in self._manifests:
            data = _read_candidate(fd, size)
            # A damaged file may be put right: only what the digest vouches for is remembered.
            if data is None or digest.verifies(data):
                self._remember(digest, _parse(data))
        return self._manifests.get(digest)

    def note_manifest(self, digest: Digest, manifest: Manifest) -> None:
        """The same, of bytes that have been read as a manifest."""
        if digest not in self._manifests:
            self._remember(digest, manifest)

    def learn(self, roots: Iterable[Descriptor]) -> None:
        """Walk from these roots through all the manifests that are there."""
        waiting = list(roots)
        seen: set[Digest] = set()
        for root in waiting:
            self._refer(root)
        while waiting:
            digest = waiting.pop().digest
            if digest not in seen:
                seen.add(digest)
                waiting += self._manifests_below(digest)

    def _refer(self, descriptor: Descriptor) -> None:
        self._referred.setdefault(descriptor.digest, descriptor)

    def _manifests_below(self, digest: Digest) -> list[Descriptor]:
        manifest = self._manifests.get(digest) or self.look_at(digest)
        return [child for child in manifest.children if is_manifest_type(child.media_type)] if manifest else []

    def look_at(self, digest: Digest) -> Manifest | None:
        """Open content and look into it; None when it is not there or no manifest."""
        try:
            fd, size = self._layout.open_blob(digest)
        except ContentUnavailable:
            return None
        try:
            return self.look_into(digest, fd, size)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _remember(self, digest: Digest, manifest: Manifest | None) -> None:
        with self._remembering:
            if digest in self._manifests:
                return
            if len(self._manifests) + len(self._referred) > _MAX_DIGESTS:
                self._manifests.clear()
                self._referred.clear()
                self._parents.clear()
                self.forgotten += 1
            self._manifests[digest] = manifest
            for child in manifest.children if manifest else ():
                self._refer(child)
                self._parents[child.digest] = (*self._parents.get(child.digest, ()), digest)


def _read_candidate(fd: int, size: int) -> bytes | None:
    """The bytes of content that may be a manifest."""
    if size > MAX_MANIFEST_SIZE or not os.pread(fd, _PEEK_BYTES, 0).lstrip().startswith(b"{"):
        return None
    return os.pread(fd, size, 0)


def _parse(data: bytes | None) -> Manifest | None:
    try:
        return None if data is None else parse_manifest(data)
    except ManifestInvalid:
        return None
