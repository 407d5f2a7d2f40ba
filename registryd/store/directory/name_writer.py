"""Changing the meanings of names: a small index.json is written at once, a large one a while after its journal.

So the cost of a name does not depend on how many there are, and index.json is never behind by more than seconds. A name
survives a power cut either way.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.store.directory.errors import writing
from registryd.store.directory.journal import CatalogChange

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from registryd.oci.descriptor import Descriptor
    from registryd.oci.digest import Digest
    from registryd.oci.reference import FullName
    from registryd.store.directory.catalog import Catalog
    from registryd.store.directory.layout import Layout

# Some 300 names. To write as much costs no more than to write a line: what is dear is to have it synced.
_SMALL_INDEX: Final = 128 * 1024


class NameWriter:
    """One process's means to change names. Every call blocks."""

    def __init__(self, layout: Layout, catalog: Catalog) -> None:
        self._layout = layout
        self._catalog = catalog
        self._index_bytes = 0

    @property
    def is_behind(self) -> bool:
        """Whether index.json lacks something that the journal has."""
        return self._catalog.journal.size > 0

    @property
    def index_bytes(self) -> int:
        """The size of index.json when it was last looked at."""
        return self._index_bytes

    def name(self, targets: Mapping[FullName, Descriptor]) -> None:
        """As `ContentWriter` has it."""
        with writing(self._layout.root), self._layout.locked():
            # Under the lock, under which content is evicted.
            for name, target in targets.items():
                if not self._layout.has_blob(target.digest):
                    raise ContentNotFound(f"{target.digest}, which {name} should mean, is not in the store")
            # In whole microseconds, as index.json has them.
            self._change(CatalogChange(targets, datetime.now(UTC).timestamp()))

    def forget(self, gone: Collection[Digest]) -> None:
        """Let no name mean this content any more; the layout's lock is held. Raises StoreFull or StoreUnavailable.

        Where index.json cannot be used, nothing means anything.
        """
        self._catalog.catch_up()
        if not self._catalog.problem:
            self._change(CatalogChange(gone=gone))

    def checkpoint(self) -> None:
        """Put what the journal has into index.json. Raises StoreFull or StoreUnavailable."""
        with writing(self._layout.root), self._layout.locked(), self._catalog.changing():
            if self.is_behind:
                self._write_index()
                self._catalog.journal.clear()

    def _change(self, change: CatalogChange) -> None:
        with self._catalog.changing():
            self._index_bytes = self._layout.index_size()
            if not self.is_behind and self._index_bytes <= _SMALL_INDEX:
                self._catalog.apply(change)
                self._write_index()
                return
            unsynced = self._catalog.journal.add(change)
            self._catalog.apply(change)
        # Outside, because a question for the meaning of a name need not wait for the disk.
        try:
            with writing(self._layout.root):
                os.fdatasync(unsynced)
        finally:
            os.close(unsynced)

    def _write_index(self) -> None:
        data = self._catalog.render()
        try:
            self._layout.replace_index(data)
        except BaseException:
            self._catalog.distrust()
            raise
        self._catalog.was_written()
        self._index_bytes = len(data)
