"""The beginnings of downloads that broke off, kept for the next attempt.

`ingest/partial/<boot>/<algorithm>-<hex>` is a correct prefix, if its sender was right. It is hashed before more bytes
are added. Partials survive the death of the process, however it died, but not a restart of the machine: after a power
cut it is not known which of the bytes reached the disk. One process at a time keeps them.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.store.directory.durable import open_to_go_on
from registryd.store.directory.folders import folder, make_folder, open_file
from registryd.store.directory.layout import INGEST_FOLDER
from registryd.store.directory.usage import StoredBlob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from registryd.store.directory.layout import Layout

PARTIAL_FOLDER: Final = "partial"
# Less is fetched again sooner than it is looked for.
_SMALLEST: Final = 1024 * 1024
# The client that wanted it has come back by then, or never will.
_KEPT_SECONDS: Final = 24 * 3600.0
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The identity of this run of the machine; empty when it is unknown, and then no partials are kept."""
    try:
        text = _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if text.replace("-", "").isalnum() else ""


class Partials:
    """The beginnings that are there. Files are moved in and out by the process's session."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._boot = boot_id()
        self._kept: dict[Digest, StoredBlob] = {}

    @property
    def total(self) -> int:
        """How many bytes they are."""
        return sum(kept.size for kept in list(self._kept.values()))

    def size(self, digest: Digest) -> int:
        """How many bytes there are of this content; 0 for none."""
        kept = self._kept.get(digest)
        return kept.size if kept else 0

    def claim(self, digest: Digest) -> StoredBlob | None:
        """Claim a partial that is about to be taken: no other task may count or remove it."""
        return self._kept.pop(digest, None)

    def unclaim(self, kept: StoredBlob) -> None:
        """Give up the claim: the partial is not taken after all."""
        self._kept[kept.digest] = kept

    # Everything below blocks.

    def load(self) -> None:
        """Look at what is there, without what is of another boot or too old. Raises OSError."""
        if not self._boot:
            return
        make_folder(self._layout.root, INGEST_FOLDER, PARTIAL_FOLDER, self._boot)
        with folder(self._layout.root, INGEST_FOLDER, PARTIAL_FOLDER) as parent:
            for name in set(os.listdir(parent)) - {self._boot}:  # noqa: PTH208 - of a descriptor
                shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
        self._kept = {blob.digest: blob for blob in partial_blobs(self._layout)}
        self.expire()

    def expire(self) -> None:
        """Remove partials that no download continued."""
        oldest = time.time() - _KEPT_SECONDS
        self._remove([kept for kept in list(self._kept.values()) if kept.used_at < oldest])

    def recount(self) -> None:
        """Forget those whose files are gone, removed by hand."""
        for kept in list(self._kept.values()):
            try:
                with self._folder() as parent:
                    os.stat(file_name(kept.digest), dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                if self._kept.get(kept.digest) is kept:
                    self._kept.pop(kept.digest, None)
            except OSError:
                return

    def shrink(self, need: int) -> int:
        """Remove the oldest, until so many bytes are free or none is left; returns how many are."""
        chosen, freed = [], 0
        for kept in sorted(self._kept.values(), key=lambda kept: kept.used_at):
            if freed >= need:
                break
            chosen.append(kept)
            freed += kept.size
        self._remove(chosen)
        return freed

    def drop(self, digest: Digest) -> None:
        """Remove what there is of this content; nothing is fine."""
        kept = self._kept.get(digest)
        if kept is not None:
            self._remove([kept])

    def keep(self, digest: Digest, source: int, name: str) -> bool:
        """Take over a file from this folder if it is worth it; returns whether it was. Raises OSError."""
        if not self._boot:
            return False
        fd = open_file(source, name)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size < _SMALLEST:
                return False
            os.fchmod(fd, 0o644)  # it may have been sealed
        finally:
            os.close(fd)
        self.expire()
        with self._folder() as target:
            os.rename(name, file_name(digest), src_dir_fd=source, dst_dir_fd=target)
        self._kept[digest] = StoredBlob(digest, status.st_size, status.st_mtime)
        return True

    def take(self, digest: Digest, target: int, name: str) -> int:
        """Move the file of claimed content into this folder, and open it to be gone on with. Raises OSError."""
        with self._folder() as source:
            fd = open_to_go_on(source, file_name(digest))
            try:
                os.rename(file_name(digest), name, src_dir_fd=source, dst_dir_fd=target)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def _remove(self, chosen: list[StoredBlob]) -> None:
        for kept in chosen:
            self._kept.pop(kept.digest, None)
            with suppress(OSError), self._folder() as parent:
                os.unlink(file_name(kept.digest), dir_fd=parent)

    def _folder(self) -> AbstractContextManager[int]:
        return folder(self._layout.root, INGEST_FOLDER, PARTIAL_FOLDER, self._boot)


def partial_blobs(layout: Layout) -> Iterator[StoredBlob]:
    """The beginnings that this boot's processes left. Raises OSError."""
    with folder(layout.root, INGEST_FOLDER, PARTIAL_FOLDER, boot_id()) as parent:
        for entry in os.scandir(parent):
            with suppress(DigestInvalid, FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield StoredBlob(digest_of_file(entry.name), status.st_size, status.st_mtime)


def file_name(digest: Digest) -> str:
    """The file name of content on its way in."""
    return f"{digest.algorithm}-{digest.encoded}"


def digest_of_file(name: str) -> Digest:
    """Whose file that is; raises DigestInvalid."""
    algorithm, _, encoded = name.partition("-")
    return Digest(algorithm, encoded)
