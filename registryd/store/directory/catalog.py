"""What index.json says right now: names, and where the walk through the manifests begins.

index.json may be changed by another process at any time (`registryd import`, skopeo). Instead of watching it, every
question that depends on it looks at the file's status first, which takes some 2 µs: exact at the moment of the
question, without a task, and without inotify instances, of which a node has 128 and its daemons use many up. Only for
those who wait for a change it is watched, by the one instance that the agent has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from registryd.content.naming import Naming
from registryd.content.source import ContentNotFound, ContentUnavailable, NamedContent, StoreUnavailable
from registryd.oci.errors import ManifestInvalid
from registryd.oci.image_layout import INDEX_FILE, LayoutIndex, parse_index
from registryd.transfer.pool import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.aio.file_events import FileEvents
    from registryd.oci.image_layout import Entry
    from registryd.oci.reference import TaggedName
    from registryd.store.directory.layout import Layout
    from registryd.store.directory.media_types import MediaTypes

    Fingerprint = tuple[int, int, int, int]

# A file system's clock ticks every 4 to 10 ms: a file that was changed more recently than this when it was read may
# change again without its times telling. It is read again at the next question.
_TICK_SECONDS: Final = 0.05
# How often to look for an index.json that is not there, and so cannot be watched.
_LOOK_SECONDS: Final = 1.0

_LOG: Final = logging.getLogger(__name__)


class Catalog:
    """The names of a layout, kept in step with its index.json; what the entries lead to goes to the media types."""

    def __init__(self, layout: Layout, media_types: MediaTypes) -> None:
        self._layout = layout
        self._media_types = media_types
        self._names: dict[TaggedName, list[NamedContent]] = {}
        self._read: Fingerprint | None = None
        self._loads = 0
        self._loads_told = 0
        self._refreshing = asyncio.Lock()

    def get(self, name: TaggedName) -> Sequence[NamedContent]:
        """What the name meant at the last refresh."""
        return tuple(self._names.get(name, ()))

    def names(self) -> Collection[TaggedName]:
        """All names at the last refresh."""
        return tuple(self._names)

    async def namings(self) -> list[Naming]:
        """Every meaning of every name, now."""
        await self.refresh()
        return [Naming(name, meaning) for name, meanings in self._names.items() for meaning in meanings]

    async def wait_renamed(self, events: FileEvents) -> None:
        """Return when index.json has changed since this last returned; for one who waits."""
        try:
            fd = self._layout.open_index()
        except ContentUnavailable:
            await asyncio.sleep(_LOOK_SECONDS)
            return
        try:
            # Whoever replaces the file takes its last name from the one that is watched; its content is not written to.
            with events.watching(fd) as changes:
                while self._loads == self._loads_told and self._is_current():
                    await changes.wait()
            await self.refresh()
            self._loads_told = self._loads
        finally:
            os.close(fd)

    async def refresh(self) -> None:
        """Read index.json again if it has changed. One that is wrong is logged, and what was known stays."""
        if self._is_current():
            return
        async with self._refreshing:
            if not self._is_current():
                await run_in_pool(self._load)

    def _load(self) -> None:
        self._loads += 1
        fingerprint = self._fingerprint()
        try:
            data, written_at = self._layout.read_index()
            index = parse_index(data)
        except ContentNotFound:
            index, written_at = LayoutIndex(), 0.0
        except (StoreUnavailable, ManifestInvalid) as error:
            _LOG.error("%s is ignored until it changes: %s", self._layout.root / INDEX_FILE, error)
            self._read = fingerprint
            return
        if index.wrong:
            _LOG.warning("%d entries of index.json are ignored; the first: %s", len(index.wrong), index.wrong[0])
        self._media_types.learn(entry.target for entry in index.entries)
        self._names = _by_name(index.entries, written_at)
        self._read = fingerprint if time.time() - written_at > _TICK_SECONDS else None

    def _is_current(self) -> bool:
        return self._read is not None and self._read == self._fingerprint()

    def _fingerprint(self) -> Fingerprint | None:
        try:
            status = (self._layout.root / INDEX_FILE).stat(follow_symlinks=False)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _by_name(entries: Sequence[Entry], written_at: float) -> dict[TaggedName, list[NamedContent]]:
    names: dict[TaggedName, list[NamedContent]] = {}
    for entry in entries:
        if entry.name is not None:
            seen_at = written_at if entry.seen_at is None else entry.seen_at
            names.setdefault(entry.name, []).append(NamedContent(entry.target, seen_at))
    return names
