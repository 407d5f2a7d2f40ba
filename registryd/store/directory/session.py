"""One process's ingests: a folder of its own below `ingest/`, locked for as long as the process lives.

`ingest/<session>/<algorithm>-<hex>` is a growing file, a correct prefix of the content at any time. A folder whose lock
no process holds belonged to a process that died. The next process that opens the layout removes the folder, and keeps
the beginnings of downloads if it keeps such (`partials`). The lock is the kernel's, so it holds across containers and
never outlives its process, as a process id in a file would.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from registryd.content.source import ContentNotFound
from registryd.content.writer import IngestInProgress
from registryd.oci.errors import DigestInvalid
from registryd.oci.image_layout import BLOBS_FOLDER
from registryd.store.directory.durable import FolderSync, create_file, move, open_lock, try_lock, write_all
from registryd.store.directory.errors import reading
from registryd.store.directory.folders import folder, make_folder, open_file, read_file
from registryd.store.directory.layout import INGEST_FOLDER, LOCK_FILE
from registryd.store.directory.partials import boot_id, digest_of_file, file_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.oci.digest import Digest
    from registryd.store.directory.layout import Layout
    from registryd.store.directory.partials import Partials

_SESSION: Final = re.compile(r"[0-9a-f]{32}")
# A boot's name in the lock file; they have 36 characters.
_LOCK_BYTES: Final = 64


class Session:
    """The folder of this process, and which digests are being received in it."""

    def __init__(
        self,
        layout: Layout,
        published: Callable[[Digest], object],
        partials: Partials | None = None,
        *,
        released: Callable[[Digest], object] = lambda _: None,
    ) -> None:
        """`published` is told in a thread what has become a blob, `released` what is received no longer."""
        self._released = released
        self._layout = layout
        self._published = published
        self._partials = partials
        self._receiving: dict[Digest, int | None] = {}
        self._syncs: dict[str, FolderSync] = {}
        self._folder = -1
        self._lock = -1
        self._name = secrets.token_hex(16)

    def open(self) -> None:
        """Make the folder and lock it. Raises OSError."""
        # Under the layout's lock, so that no process takes the folder for a dead one before it is locked.
        with self._layout.locked():
            make_folder(self._layout.root, INGEST_FOLDER, self._name)
            with folder(self._layout.root, INGEST_FOLDER, self._name) as opened:
                self._lock = open_lock(opened, LOCK_FILE)
                self._folder = os.dup(opened)
            try_lock(self._lock)
            write_all(self._lock, boot_id().encode())

    def close(self) -> None:
        """Remove the folder with all that is in it. Never raises."""
        with suppress(OSError), self._layout.locked(), folder(self._layout.root, INGEST_FOLDER) as parent:
            shutil.rmtree(self._name, ignore_errors=True, dir_fd=parent)
        for fd in (self._folder, self._lock):
            if fd >= 0:
                os.close(fd)
        self._folder = self._lock = -1

    def reserve(self, digest: Digest, size: int | None) -> None:
        """Claim the digest for one ingest, of that size if it is known; raises IngestInProgress."""
        if digest in self._receiving:
            raise IngestInProgress(f"{digest} is being received already")
        self._receiving[digest] = size

    def receiving(self) -> frozenset[Digest]:
        """The content being received with a known size, which other nodes can follow. From any thread."""
        return frozenset(digest for digest, size in tuple(self._receiving.items()) if size is not None)

    def open_ingest(self, digest: Digest) -> tuple[int, int]:
        """A new descriptor of the growing file, and the size that it will have.

        Raises ContentNotFound for what is not being received, or has no known size; StoreUnavailable.
        """
        size = self._receiving.get(digest)
        if size is None:
            raise ContentNotFound(f"{digest} is not being received with a known size")
        with reading(digest):
            return open_file(self._folder, file_name(digest)), size

    # the place of ingests

    def create(self, digest: Digest) -> int:
        name = file_name(digest)
        if self._partials:
            with suppress(FileNotFoundError):
                return self._partials.take(digest, self._folder, name)
        return create_file(self._folder, name)

    def publish(self, digest: Digest) -> None:
        self._move(digest)
        self._published(digest)

    def store(self, digest: Digest, data: bytes) -> None:
        """Make a blob of verified bytes, all at once. Raises OSError; then nothing is left of it."""
        name = file_name(digest)
        fd = create_file(self._folder, name)
        try:
            try:
                write_all(fd, data)
                os.fchmod(fd, 0o444)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._move(digest)
        except BaseException:
            self.discard(digest)
            raise

    def _move(self, digest: Digest) -> None:
        if digest.algorithm not in self._syncs:
            make_folder(self._layout.root, BLOBS_FOLDER, digest.algorithm)
        sync = self._syncs.setdefault(digest.algorithm, FolderSync())
        with folder(self._layout.root, BLOBS_FOLDER, digest.algorithm) as blobs:
            move(file_name(digest), self._folder, digest.encoded, blobs, sync)

    def discard(self, digest: Digest) -> None:
        with suppress(OSError):
            os.unlink(file_name(digest), dir_fd=self._folder)

    def keep(self, digest: Digest) -> None:
        with suppress(OSError):
            if self._partials and self._partials.keep(digest, self._folder, file_name(digest)):
                return
        self.discard(digest)

    def release(self, digest: Digest) -> None:
        self._receiving.pop(digest, None)
        self._released(digest)


def remove_dead_sessions(layout: Layout, partials: Partials | None = None) -> None:
    """Remove what killed processes were receiving, or keep it; sessions of living ones stay. Raises OSError."""
    if not (layout.root / INGEST_FOLDER).exists():
        return
    with layout.locked(), folder(layout.root, INGEST_FOLDER) as parent:
        for name in filter(_SESSION.fullmatch, os.listdir(parent)):  # noqa: PTH208 - of a descriptor
            if _is_dead(layout, name):
                if partials:
                    _keep_files(layout, name, partials)
                shutil.rmtree(name, ignore_errors=True, dir_fd=parent)


def abandoned_bytes(layout: Layout) -> int:
    """Bytes that processes killed since the machine started were receiving, and nobody has kept yet. Raises OSError."""
    total = 0
    with layout.locked(), folder(layout.root, INGEST_FOLDER) as parent:
        for name in filter(_SESSION.fullmatch, os.listdir(parent)):  # noqa: PTH208 - of a descriptor
            with suppress(FileNotFoundError), folder(layout.root, INGEST_FOLDER, name) as session:
                if _is_dead(layout, name) and _is_of_this_boot(session):
                    files = (file for file in os.listdir(session) if file != LOCK_FILE)  # noqa: PTH208
                    total += sum(os.stat(file, dir_fd=session, follow_symlinks=False).st_size for file in files)
    return total


def _is_of_this_boot(session: int) -> bool:
    return read_file(session, LOCK_FILE, limit=_LOCK_BYTES) == boot_id().encode()


def _is_dead(layout: Layout, name: str) -> bool:
    with folder(layout.root, INGEST_FOLDER, name) as session:
        lock = open_lock(session, LOCK_FILE)
    try:
        return try_lock(lock)
    finally:
        os.close(lock)


def _keep_files(layout: Layout, name: str, partials: Partials) -> None:
    with suppress(OSError), folder(layout.root, INGEST_FOLDER, name) as session:
        if not _is_of_this_boot(session):
            return
        for file in os.listdir(session):  # noqa: PTH208 - of a descriptor
            with suppress(DigestInvalid):
                partials.keep(digest_of_file(file), session, file)
