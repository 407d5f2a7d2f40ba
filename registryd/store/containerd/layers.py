"""Which layers of an image containerd is going to throw away.

With `discard_unpacked_layers` a pull does not label an image's manifest with its layers, so nothing refers to the
layers when the pull is over. The labels show this for each manifest, whatever the configuration says now or said then.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.oci.descriptor import INDEX_TYPES
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import is_manifest_type, parse_manifest
from registryd.pb.containerd.content_pb2 import InfoRequest
from registryd.store.containerd.gc_labels import REFERENCE
from registryd.store.containerd.shelf import Layer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.pb.containerd.content_pb2 import Info
    from registryd.store.containerd.blobs import Blobs
    from registryd.store.containerd.connection import ContainerdConnection
    from registryd.store.containerd.route import Route

    _Found = tuple[Digest, Manifest]

# An index has one manifest per platform, rarely more than forty with their attestations.
_MOST_DOCUMENTS: Final = 256
# The kernel's clock for files has steps of up to 10 ms: two changes within a step have the same time.
_STEP_SECONDS: Final = 0.1


class UnkeptLayers:
    """Reads manifests and the labels that containerd gave them. Raises StoreUnavailable."""

    def __init__(self, connection: ContainerdConnection, route: Route) -> None:
        self._connection = connection
        self._route = route
        self._seen: tuple[Blobs, float] | None = None
        """The way to content when it was asked the last time, and when the last content had come by then."""

    def may_have_come(self) -> bool:
        """Whether content may have come since the last call."""
        blobs = self._route.blobs
        changed_at, now = blobs.changed_at(), time.time()
        is_same = changed_at is not None and self._seen == (blobs, changed_at)
        is_settled = changed_at is not None and changed_at < now - _STEP_SECONDS
        self._seen = (blobs, changed_at) if changed_at is not None and is_settled else None
        return not is_same

    def is_absent(self, digest: Digest) -> bool:
        """Whether it is certain, without asking containerd, that it is not here."""
        return self._route.blobs.lacks(digest)

    async def of(self, root: Digest, namespace: str) -> frozenset[Layer] | None:
        """The layers of an image that its manifests do not keep; empty for content that is no image.

        None when that cannot be said yet: no manifest is here, or one that containerd has not labelled yet. Raises
        ContentNotFound besides.
        """
        top = await self._read(root, namespace)
        if top is None:
            return frozenset()
        manifests = self._manifests(root, top, namespace)
        found = [await self._unkept_by(digest, manifest, namespace) async for digest, manifest in manifests]
        return None if not found or None in found else frozenset().union(*filter(None, found))

    async def present(self, digest: Digest, namespace: str) -> Layer | None:
        """Content that is here, as a layer; None when it is not."""
        try:
            return Layer(namespace, digest, (await self._info(digest, namespace)).size)
        except ContentNotFound:
            return None

    async def _manifests(self, root: Digest, top: Manifest, namespace: str) -> AsyncIterator[_Found]:
        """The manifests of an image that are here: nearly always one, that of this node's platform."""
        pending = [(root, top)]
        seen = {root}
        while pending:
            digest, manifest = pending.pop()
            if manifest.media_type not in INDEX_TYPES:
                yield digest, manifest
                continue
            for child in manifest.children:
                if is_manifest_type(child.media_type) and child.digest not in seen and len(seen) < _MOST_DOCUMENTS:
                    seen.add(child.digest)
                    with suppress(ContentNotFound):
                        if found := await self._read(child.digest, namespace):
                            pending.append((child.digest, found))

    async def _unkept_by(self, digest: Digest, manifest: Manifest, namespace: str) -> frozenset[Layer] | None:
        labels = (await self._info(digest, namespace)).labels
        kept = {value for label, value in labels.items() if label.startswith(REFERENCE)}
        if not kept:
            return None
        _config, *layers = manifest.children
        return frozenset(Layer(namespace, each.digest, each.size) for each in layers if str(each.digest) not in kept)

    async def _read(self, digest: Digest, namespace: str) -> Manifest | None:
        """Read a manifest; None for content that is no manifest. Raises ContentNotFound."""
        data = await self._route.blobs.read_document(digest, namespace)
        await self._route.settle()
        try:
            return parse_manifest(data) if data and digest.verifies(data) else None
        except ManifestInvalid:
            return None

    async def _info(self, digest: Digest, namespace: str) -> Info:
        request = InfoRequest(digest=str(digest))
        timeout = self._connection.timing.listing
        method = self._connection.content.Info
        return (await self._connection.ask(method, request, namespace=namespace, timeout=timeout)).info
