"""The content of a layout, its size, and the time of its last use.

The time of the last use is the file's modification time, set by registryd. Blobs are never modified, so the time
survives a restart and needs no database. The access time would not do: every reader of a file changes it, also an
eviction or a backup.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.oci.digest import Digest
from registryd.oci.errors import DigestInvalid
from registryd.oci.image_layout import BLOBS_FOLDER
from registryd.store.directory.folders import folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.store.directory.layout import Layout

# Uses that are closer together than this are not told apart: what is evicted was not used for hours.
_PRECISION_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob's file: its size in bytes, and when it came or was last read, in seconds since the epoch."""

    digest: Digest
    size: int
    used_at: float


def stored_blobs(layout: Layout) -> Iterator[StoredBlob]:
    """Every blob that is there now. Raises OSError."""
    with folder(layout.root, BLOBS_FOLDER) as blobs:
        algorithms = [entry.name for entry in os.scandir(blobs) if entry.is_dir(follow_symlinks=False)]
    for algorithm in algorithms:
        with folder(layout.root, BLOBS_FOLDER, algorithm) as parent:
            for entry in os.scandir(parent):
                with suppress(DigestInvalid, FileNotFoundError):
                    yield _stored(Digest(algorithm, entry.name), entry.stat(follow_symlinks=False))


def note_use(layout: Layout, digest: Digest) -> None:
    """The blob is being used now. Never raises: on a read-only layout there is nothing to evict."""
    path = layout.root / BLOBS_FOLDER / digest.algorithm / digest.encoded
    with suppress(OSError):
        status = path.stat(follow_symlinks=False)
        if time.time() - status.st_mtime >= _PRECISION_SECONDS:
            os.utime(path, follow_symlinks=False)


def _stored(digest: Digest, status: os.stat_result) -> StoredBlob:
    return StoredBlob(digest, status.st_size, status.st_mtime)
