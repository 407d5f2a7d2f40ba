"""Where things are in an OCI image layout (image-spec, image-layout.md), and how they get there."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound, StoreUnavailable
from registryd.oci.image_layout import BLOBS_FOLDER, INDEX_FILE, LAYOUT, LAYOUT_FILE, is_layout_file, render_index
from registryd.store.directory.durable import exists, lock_file, replace_file
from registryd.store.directory.errors import read_error, reading, reason, writing
from registryd.store.directory.folders import folder, make_folder, open_file, open_folder, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.oci.digest import Digest

EMPTY_INDEX: Final = render_index(())
# Content on its way in; not part of the specification, which lets a layout hold other things.
INGEST_FOLDER: Final = "ingest"
LOCK_FILE: Final = "lock"
# Blobs that turned out not to be what their names say, by the same names.
CORRUPT_FOLDER: Final = "corrupt"
# Changes of names that index.json does not have yet.
JOURNAL_FILE: Final = "names.journal"
# What may be in the directory before it is a layout: nothing, what a killed process made of it so far, and what a
# file system of its own has when it is new.
_OURS: Final = frozenset({"lost+found", BLOBS_FOLDER, INGEST_FOLDER, INDEX_FILE, f".{INDEX_FILE}", f".{LAYOUT_FILE}"})
# Some 100,000 entries. What is larger is not a list of images.
_MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
_SMALL: Final = 4096


class Layout:
    """The files of a layout. Calls block, but not for long: none moves more than an index.json."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make a layout of an empty or absent directory; leave one that is there alone.

        Raises StoreUnavailable for a directory with something else in it.
        """
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            if self._is_layout():
                return
            if foreign := {entry.name for entry in self.root.iterdir()} - _OURS:
                raise StoreUnavailable(f"{self.root} is not an OCI image layout: it holds {min(foreign)!r}")
            with self.locked():
                self._create()

    def require(self) -> None:
        """Raise StoreUnavailable unless the layout is there and can be read."""
        try:
            is_there = self._is_layout()
        except OSError as error:
            raise StoreUnavailable(f"{self.root} cannot be read: {reason(error)}") from error
        if not is_there:
            raise StoreUnavailable(f"{self.root} is not an OCI image layout any more")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that changes of the layout are made under, against threads and processes alike."""
        make_folder(self.root, INGEST_FOLDER)
        with folder(self.root, INGEST_FOLDER) as parent, lock_file(parent, LOCK_FILE):
            yield

    def open_blob(self, digest: Digest) -> tuple[int, int]:
        """A descriptor for reading, and the size in bytes. Raises ContentNotFound or StoreUnavailable."""
        # Spelt out, for every question of a peer comes here: context managers would cost more than the system calls.
        try:
            parent = open_folder(self.root, BLOBS_FOLDER, digest.algorithm)
            try:
                fd = open_file(parent, digest.encoded)
            finally:
                os.close(parent)
        except OSError as error:
            raise read_error(digest, error) from error
        try:
            return fd, _size_of_regular(fd, digest)
        except BaseException:
            os.close(fd)
            raise

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there. Raises StoreUnavailable."""
        try:
            fd, _ = self.open_blob(digest)
        except ContentNotFound:
            return False
        os.close(fd)
        return True

    def withdraw_blob(self, digest: Digest) -> None:
        """Move a blob into the folder of corrupt ones; absent already is fine. Raises StoreUnavailable."""
        make_folder(self.root, CORRUPT_FOLDER)
        with (
            writing(digest),
            folder(self.root, BLOBS_FOLDER, digest.algorithm) as blobs,
            folder(self.root, CORRUPT_FOLDER) as corrupt,
            suppress(FileNotFoundError),
        ):
            os.rename(digest.encoded, digest.encoded, src_dir_fd=blobs, dst_dir_fd=corrupt)

    def read_index(self) -> tuple[bytes, float]:
        """index.json and when it was written (seconds since the epoch). Raises ContentNotFound or StoreUnavailable."""
        with reading(INDEX_FILE), folder(self.root) as parent:
            status = os.stat(INDEX_FILE, dir_fd=parent, follow_symlinks=False)
            return read_file(parent, INDEX_FILE, limit=_MAX_INDEX_BYTES), status.st_mtime

    def index_size(self) -> int:
        """Bytes of index.json; 0 if it is not there."""
        try:
            return (self.root / INDEX_FILE).stat(follow_symlinks=False).st_size
        except OSError:
            return 0

    def has_journal(self) -> bool:
        """Whether index.json may lack something."""
        return (self.root / JOURNAL_FILE).exists()

    def open_index(self) -> int:
        """A descriptor of the index.json that is there now. Raises ContentNotFound or StoreUnavailable."""
        with reading(INDEX_FILE), folder(self.root) as parent:
            return open_file(parent, INDEX_FILE)

    def replace_index(self, data: bytes) -> None:
        """Put a new index.json in place, at once and durably; the caller holds the lock."""
        with writing(INDEX_FILE), folder(self.root) as parent:
            replace_file(parent, INDEX_FILE, data)

    def _is_layout(self) -> bool:
        with folder(self.root) as parent:
            try:
                return is_layout_file(read_file(parent, LAYOUT_FILE, limit=_SMALL))
            except OSError:
                return False

    def _create(self) -> None:
        make_folder(self.root, BLOBS_FOLDER, "sha256")
        with folder(self.root) as parent:
            if not exists(parent, INDEX_FILE):
                replace_file(parent, INDEX_FILE, EMPTY_INDEX)
            # oci-layout last: it is what makes the directory a layout.
            replace_file(parent, LAYOUT_FILE, LAYOUT)


def is_layout(root: Path) -> bool:
    """Whether there is a layout already."""
    return (root / LAYOUT_FILE).exists()


def _size_of_regular(fd: int, digest: Digest) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ContentNotFound(f"{digest} is not a regular file")
    return status.st_size
