"""The content of a store that keeps blobs in files, listed anew when the kernel tells of a change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.folder_events import FolderEvents
from registryd.content.inventory import Stock
from registryd.content.source import StoreUnavailable
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from registryd.aio.file_events import FileEvents
    from registryd.oci.digest import Digest
    from registryd.store.blob_folder import BlobFolder

    Arriving = Callable[[], Collection[Digest]]


class Stocktaking:
    """Lists what is there; complete if the kernel tells of everything that comes and goes."""

    def __init__(self, events: FileEvents) -> None:
        self._changes = FolderEvents(events)

    async def take(self, blobs: BlobFolder, arriving: Arriving, *, besides: Sequence[Path] = ()) -> Stock:
        """All blobs of a folder and what `arriving` gives, which may block; what that depends on is `besides`.

        Raises StoreUnavailable.
        """
        # Watched first, so that no change falls between.
        is_told = self._changes.follow([*blobs.folders(), *besides])
        try:
            return await run_in_pool(partial(_listed, blobs, arriving, is_told=is_told))
        except OSError as error:
            raise StoreUnavailable(f"{blobs.root} cannot be listed: {error.strerror}") from error

    async def wait_changed(self) -> None:
        """Return when what was listed may be something else now."""
        await self._changes.wait()

    def tell(self) -> None:
        """Something has changed of which the kernel knows nothing."""
        self._changes.tell()

    def close(self) -> None:
        """Watch nothing any more."""
        self._changes.close()


def _listed(blobs: BlobFolder, arriving: Arriving, *, is_told: bool) -> Stock:
    # Arriving first: what becomes whole meanwhile is in both, and in neither the other way round.
    coming = frozenset(arriving())
    return Stock(blobs.digests(), coming, is_told and blobs.is_local())
