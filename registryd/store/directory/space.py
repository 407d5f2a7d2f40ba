"""Room for what comes in: counted, reserved, and made by removing what was not used for longest."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.content.writer import StoreFull
from registryd.oci.image_layout import BLOBS_FOLDER
from registryd.store.directory.errors import reading, writing
from registryd.store.directory.eviction import Keep, choose_evicted
from registryd.store.directory.folders import folder
from registryd.store.directory.pins import PinPatterns
from registryd.store.directory.pool import run_writing
from registryd.store.directory.usage import stored_blobs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.store.directory.layout import Layout
    from registryd.store.directory.media_types import MediaTypes
    from registryd.store.directory.names import Names
    from registryd.store.directory.partials import Partials
    from registryd.store.directory.usage import StoredBlob

_log = logging.getLogger(__name__)

# Whoever removes content by hand sees so soon that it is gone. A layout of 100,000 blobs is counted in a second.
_RECOUNT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """Most bytes of blobs (0: no limit), bytes to leave free on the file system, seconds that content is safe for."""

    size_limit: int = 0
    keep_free: int = 0
    min_age: float = 0.0
    pinned: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Room:
    """Taken for content that comes: its size, and how many bytes of it are on the disk by now."""

    size: int
    written: int = 0


class SpaceObserver(Protocol):
    """Is told how full it is."""

    def space(self, *, used: int, evicted: int) -> None:
        """So many bytes are there now, and so many were just removed."""


class Space:
    """The bytes of one layout. Only its owner evicts; other processes may read it and put content in."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        layout: Layout,
        media_types: MediaTypes,
        partials: Partials,
        names: Names,
        limits: SpaceLimits,
        *,
        observer: SpaceObserver | None = None,
    ) -> None:
        self._layout = layout
        self._partials = partials
        self._media_types = media_types
        self._names = names
        self._limits = limits
        self._observer = observer
        self._pins = PinPatterns(limits.pinned)
        self._used = 0
        self._stored = 0
        """Bytes of all that ever was stored, for who counts meanwhile."""
        self._rooms: set[Room] = set()
        self._evicting = asyncio.Lock()
        self.in_use: Counter[Digest] = Counter()

    async def measure(self) -> None:
        """Count what is there. Raises StoreUnavailable."""
        before = self._stored
        try:
            found = sum(blob.size for blob in await run_writing(self._scan))
        except ContentNotFound:  # the layout itself was removed
            found = 0
        await run_writing(self._partials.recount)
        # Content stored meanwhile may be counted or not: too much is better than too little.
        self._used = found + self._stored - before
        self._tell()

    async def keep_measured(self) -> None:
        """Count every few minutes what is there: it may be removed by hand, and nobody tells. Endless."""
        while True:
            await asyncio.sleep(_RECOUNT_SECONDS)
            with suppress(StoreUnavailable):
                async with self._evicting:
                    await self.measure()

    # for one piece of content

    async def reserve(self, size: int, *, written: int = 0) -> Room:
        """Room for so many bytes, some of which may be there already, when it is taken; raises StoreFull."""
        if 0 < (limit := self._limits.size_limit) < size:  # nothing may go for what never fits
            raise StoreFull(f"content of {size} bytes is larger than all that may be stored ({limit})", fits=limit)
        room = Room(size, written)
        async with self._evicting:
            if self._shortage(room) > 0:
                await self.measure()  # other processes remove and bring in, and what was received twice counted twice
            if (shortage := self._shortage(room)) > 0:
                await self._make_room(shortage, fits=max(0, size - shortage))
            self._rooms.add(room)
        return room

    def release(self, room: Room) -> None:
        """Give reserved space back, except for the part that is kept."""
        self._rooms.discard(room)
        self._tell()

    def stored(self, room: Room) -> None:
        """Note that the content of reserved space is stored now."""
        self._rooms.discard(room)
        self._used += room.size
        self._stored += room.size
        self._tell()

    # making room

    def _shortage(self, room: Room) -> int:
        limits, rooms = self._limits, (*self._rooms, room)
        used = self._used + self._partials.total + sum(each.size for each in rooms)
        over = used - limits.size_limit if limits.size_limit else 0
        status = os.statvfs(self._layout.root)
        coming = sum(each.size - each.written for each in rooms)
        lacking = limits.keep_free + coming - status.f_bavail * status.f_frsize if limits.keep_free else 0
        return max(over, lacking)

    async def _make_room(self, need: int, *, fits: int) -> None:
        """Make room. Partial content goes before whole content, because it is the least of use."""
        freed = await run_writing(partial(self._partials.shrink, need))
        if freed < need:
            evicted = await run_writing(partial(self._evict, need - freed, frozenset(+self.in_use)))
            self._names.have_changed()
            if freed + evicted < need:
                raise StoreFull(f"there is no room for {need} more bytes, and nothing that may be removed", fits=fits)
            await self.measure()
            self._tell(evicted=evicted)

    def _evict(self, need: int, in_use: Collection[Digest]) -> int:
        """Evict content, in a thread. The lock under which names change keeps content from being named meanwhile."""
        with writing(self._layout.root), self._layout.locked():
            blobs = self._scan()
            manifests = self._manifests(blobs)
            keep = Keep(self._pinned_roots(manifests), in_use, time.time() - self._limits.min_age)
            chosen = choose_evicted(blobs, manifests, need=need, keep=keep)
            self._remove(chosen, manifests)
        return sum(blob.size for blob in chosen)

    def _remove(self, chosen: Sequence[StoredBlob], manifests: Collection[Digest]) -> None:
        """Remove names first, then their targets, then the rest. After a crash no name refers to missing content."""
        gone = {blob.digest for blob in chosen if blob.digest in manifests}
        if gone:
            self._names.writer.forget(gone)
        for blob in chosen:
            with folder(self._layout.root, BLOBS_FOLDER, blob.digest.algorithm) as parent, suppress(FileNotFoundError):
                os.unlink(blob.digest.encoded, dir_fd=parent)
            _log.debug("evicted", extra={"digest": str(blob.digest), "size": blob.size})

    def _scan(self) -> Sequence[StoredBlob]:
        with reading(self._layout.root):
            return list(stored_blobs(self._layout))

    def _manifests(self, blobs: Sequence[StoredBlob]) -> dict[Digest, Manifest]:
        found = ((blob.digest, self._media_types.look_at(blob.digest)) for blob in blobs)
        return {digest: manifest for digest, manifest in found if manifest}

    def _pinned_roots(self, manifests: Mapping[Digest, Manifest]) -> set[Digest]:
        if not self._pins:
            return set()
        self._names.catalog.catch_up()
        return self._pins.roots(self._names.catalog.entries(), manifests)

    def _tell(self, *, evicted: int = 0) -> None:
        if self._observer:
            self._observer.space(used=self._used + self._partials.total, evicted=evicted)
