"""The names of a layout, as a store asks for them: what they mean, which there are, their changes."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.content.naming import Naming
from registryd.content.source import ContentUnavailable, NamedContent, StoreUnavailable
from registryd.oci.reference import TaggedName
from registryd.store.directory.catalog import Catalog
from registryd.store.directory.name_writer import NameWriter
from registryd.store.directory.pool import run_writing
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from registryd.aio.file_events import Changes, FileEvents
    from registryd.oci.descriptor import Descriptor
    from registryd.oci.reference import FullName
    from registryd.store.directory.layout import Layout

_LOG: Final = logging.getLogger(__name__)

# How often to look for an index.json that is not there, and so cannot be watched.
_LOOK_SECONDS: Final = 1.0
# index.json is written a moment after the journal, when what comes together has come, and no more than so many bytes of
# it a second: 2 s for 10,000 names, whose 10 ms of processor time then are half a hundredth.
_SETTLED_SECONDS: Final = 0.2
_INDEX_BYTES_PER_SECOND: Final = 2 * 1024 * 1024
_AGAIN_SECONDS: Final = 10.0
# A task that waits for changes looks at all names after each, which takes some 20 µs a name. Told of changes so much
# later, it spends a fiftieth of its time on this.
_TOLD_LATER_PER_NAME: Final = 0.001
_TOLD_AT_ONCE: Final = 500


class Names:
    """One process's names of one layout. The caller that makes it closes it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._refreshing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        self._written_at = float("-inf")
        self._changes = 0
        self._changes_told = 0
        self._waiting: Changes | None = None
        self.catalog = Catalog(layout)
        self.writer = NameWriter(layout, self.catalog)

    async def take_in(self) -> None:
        """Put into index.json what a process that was killed had not yet put there."""
        if self._layout.has_journal():
            await self._write_index()

    # what they mean

    async def resolve(self, name: FullName) -> Sequence[NamedContent]:
        await self.refresh()
        return self.catalog.get(name)

    async def all(self) -> Sequence[FullName]:
        """All names with a meaning, sorted."""
        await self.refresh()
        return sorted(self.catalog.names(), key=str)

    async def namings(self) -> list[Naming]:
        """Every meaning of every name by tag; what a digest means goes without saying."""
        await self.refresh()
        return [
            Naming(entry.name, NamedContent(entry.target, entry.seen_at or 0.0))
            for entry in self.catalog.entries()
            if isinstance(entry.name, TaggedName)
        ]

    async def refresh(self) -> None:
        """Know what the files say now. Raises StoreUnavailable."""
        if self.catalog.is_current():
            return
        async with self._refreshing:
            if not self.catalog.is_current():
                self._changes += 1
                await run_in_pool(self.catalog.catch_up)

    async def wait_renamed(self, events: FileEvents) -> None:
        """Return when a name has changed since the last return; for one waiting task.

        Changes of other processes are told when they are in index.json, which is when these end.
        """
        try:
            fd = self._layout.open_index()
        except ContentUnavailable:
            await asyncio.sleep(_LOOK_SECONDS)
            return
        try:
            # A process that replaces the file takes the last name from the watched file; it does not write to its
            # content.
            with events.watching(fd) as changes:
                self._waiting = changes
                while self._changes == self._changes_told and self.catalog.is_current():
                    await changes.wait()
            await self.refresh()
            self._changes_told = self._changes
        finally:
            self._waiting = None
            os.close(fd)
        if (count := len(self.catalog.names())) > _TOLD_AT_ONCE:
            await asyncio.sleep(count * _TOLD_LATER_PER_NAME)

    # changing them

    async def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        """As `ContentWriter` has it."""
        if targets:
            await run_writing(partial(self.writer.name, dict(targets)))
            self.have_changed()

    def have_changed(self) -> None:
        """Note that this process changed names: waiting tasks are told, and index.json follows."""
        self._changes += 1
        if self._waiting:
            self._waiting.tell()
        if self.writer.is_behind and not self._timer and not self._checkpoint:
            self._write_later(_SETTLED_SECONDS)

    def _write_later(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        earliest = self._written_at + self.writer.index_bytes / _INDEX_BYTES_PER_SECOND
        self._timer = loop.call_at(max(loop.time() + seconds, earliest), self._begin_writing)

    def _begin_writing(self) -> None:
        self._timer = None
        self._checkpoint = asyncio.get_running_loop().create_task(self._go_on_writing(), name="write index.json")

    async def _go_on_writing(self) -> None:
        is_written = await self._write_index()
        self._checkpoint = None
        if self.writer.is_behind:  # by what came meanwhile, or because it cannot be written
            self._write_later(_SETTLED_SECONDS if is_written else _AGAIN_SECONDS)

    async def _write_index(self) -> bool:
        try:
            await run_writing(self.writer.checkpoint)
        except StoreUnavailable as error:
            # No name is lost: the journal has it, and the next process that opens the layout tries again.
            _LOG.warning("index.json is behind: %s", error)
            return False
        self._written_at = asyncio.get_running_loop().time()
        return True

    async def aclose(self) -> None:
        """Leave an index.json that has everything; idempotent."""
        if self._checkpoint:
            await asyncio.wait((self._checkpoint,))
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self.writer.is_behind:
            await self._write_index()
        self.catalog.close()
