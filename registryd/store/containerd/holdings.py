"""All content of containerd, for announcements to index nodes.

Where the agent reads containerd's files, the list has every file. containerd has no other content, whether an image has
it, no image, or an image that is still being pulled, and the kernel tells of each file. The files belong to all
namespaces. So the list may name a blob that peers do not get: a blob that comes to belong to a shared namespace later
has no event of its own.

Where the agent does not read containerd's files, the list has the content of images, and there may be more: events of
content came with 2.1, and arriving content has none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.content.inventory import Stock
from registryd.content.source import StoreUnavailable
from registryd.store.blob_folder import BlobFolder

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.store.containerd.images import Images
    from registryd.store.containerd.ingests import Ingests
    from registryd.store.containerd.reading import DocumentReader
    from registryd.store.containerd.route import Route
    from registryd.store.stocktaking import Stocktaking


class Holdings:
    """An inventory (see `registryd.content.inventory`)."""

    def __init__(
        self, route: Route, *, images: Images, reader: DocumentReader, ingests: Ingests, stocktaking: Stocktaking
    ) -> None:
        """`stocktaking` is to be told of changes of images."""
        self._route = route
        self._images = images
        self._reader = reader
        self._ingests = ingests
        self._stocktaking = stocktaking
        self._blobs: BlobFolder | None = None

    async def stock(self) -> Stock:
        if self._route.is_direct:
            return await self._of_files(self._route.roots[0])
        if not self._images.are_listed:
            raise StoreUnavailable("containerd's images have not been listed yet")
        return Stock(frozenset(self._reader.known_digests()))

    async def wait_changed(self) -> None:
        await self._stocktaking.wait_changed()

    async def _of_files(self, root: Path) -> Stock:
        if self._blobs is None or self._blobs.root != root:
            self._blobs = BlobFolder(root)
        arriving = partial(self._ingests.arriving, root)
        return await self._stocktaking.take(self._blobs, arriving, besides=[self._ingests.folder(root)])
