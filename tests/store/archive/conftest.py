"""A directory store to import into, and archives as open files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.store.archive.limits import DEFAULT_LIMITS, ArchiveLimits
from registryd.store.archive.reading import Imported, read_archive
from registryd.store.directory.store import DirectoryStore, open_directory_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from registryd.store.archive.titles import Given


class Importer:
    """Imports bytes into a store below `root`, by way of a file."""

    def __init__(self, root: Path, store: DirectoryStore) -> None:
        self.root = root
        self.store = store

    async def read(self, archive: bytes, *, name: Given = None, limits: ArchiveLimits = DEFAULT_LIMITS) -> Imported:
        with self.open(archive) as fd:
            return await read_archive(fd, self.store, name=name, limits=limits)

    @contextmanager
    def open(self, archive: bytes) -> Iterator[int]:
        path = self.root.parent / "archive.tar"
        path.write_bytes(archive)
        with path.open("rb") as file:
            yield file.fileno()

    def files(self) -> dict[str, bytes]:
        """Everything in the store that is content, a name, or on its way to become one."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.name != "lock"
        }


@pytest.fixture
async def importer(tmp_path: Path) -> AsyncIterator[Importer]:
    async with open_directory_store(tmp_path / "store") as store:
        yield Importer(tmp_path / "store", store)
