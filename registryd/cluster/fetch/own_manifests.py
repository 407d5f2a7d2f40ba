"""Manifests that this node's containerd fetches from the origin: what they name will be asked for next.

The others get the manifest from this node and know at once what comes; this node is the first of them, and is to say
that it fetches the layers before they do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.memory import read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.content.growing import GrowingSource
    from registryd.content.sought import Sought
    from registryd.content.source import ContentSource
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest

_log = logging.getLogger(__name__)

# From the answer that sends containerd to the origin until it has the manifest.
_ARRIVES_SECONDS: Final = 30.0


class OwnManifests:
    """Reads a manifest when it has arrived in this node's store, and tells what is in it."""

    def __init__(self, store: ContentSource, growing: GrowingSource, learn: Callable[[Sought, Manifest], None]) -> None:
        """`store` has what is whole and what is arriving."""
        self._store = store
        self._growing = growing
        self._learn = learn

    async def await_arrival(self, sought: Sought) -> None:
        """Return when the content has been read, is no manifest, or does not come; never raises for what it is."""
        digest = sought.digest
        try:
            # containerd begins an ingest before it asks: of most that is asked for and is nowhere there is none.
            await self._growing.begun(digest)
            async with asyncio.timeout(_ARRIVES_SECONDS):
                content = await self._store.find(digest)
                if content.size > MAX_MANIFEST_SIZE:
                    return
                if content.is_growing:
                    await self._growing.wait_grown(digest, beyond=content.size - 1)
                data = await self._read(digest)
            if digest.verifies(data):
                self._learn(sought, parse_manifest(data))
        except (ContentUnavailable, SourceBroken, ManifestInvalid, TimeoutError) as reason:
            _log.debug("what is in %s is not known: %s", digest, reason)

    async def _read(self, digest: Digest) -> bytes:
        opened = await self._store.open(digest, Span.whole)
        return await read_all(opened.body, limit=MAX_MANIFEST_SIZE)
