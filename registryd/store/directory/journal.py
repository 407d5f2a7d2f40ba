"""Changes of names since index.json was last written: a file that only grows, so that a change costs its own bytes.

`names.journal` has a JSON document on each line, and each line is a whole change. A process adds lines under the
layout's lock. Every process that wants the meaning of a name reads them, until index.json has taken them in and the
file goes. Applying a line once more changes nothing, so a process that dies in between leaves nothing wrong. An
unfinished line never happened.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from registryd.json_text import parse_json
from registryd.oci.descriptor import Descriptor
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.reference import parse_full_name
from registryd.store.directory.durable import write_all
from registryd.store.directory.errors import reading, writing
from registryd.store.directory.folders import folder, open_file
from registryd.store.directory.layout import JOURNAL_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from registryd.oci.reference import FullName
    from registryd.store.directory.layout import Layout

# index.json takes the lines in every few seconds; what is larger was not written by us.
_MAX_BYTES: Final = 256 * 1024 * 1024
_GO_ON: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """Names that mean something from `seen_at` on (seconds since the epoch), or content that no name means any more."""

    named: Mapping[FullName, Descriptor] = field(default_factory=dict)
    seen_at: float = 0.0
    gone: Collection[Digest] = ()

    def line(self) -> bytes:
        """As it stands in the file."""
        named = [[name.written, each.media_type, str(each.digest), each.size] for name, each in self.named.items()]
        document = {"named": named, "seenAt": self.seen_at} if named else {"gone": [*map(str, self.gone)]}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> CatalogChange:
        """Read a line; raises ValueError for what is none."""
        try:
            return cls._of(parse_json(line))
        except (OciError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a change of names: {error}") from error

    @classmethod
    def _of(cls, document: dict[str, Any]) -> CatalogChange:
        named = {
            parse_full_name(name): Descriptor(media_type, Digest.parse(digest), size)
            for name, media_type, digest, size in document.get("named", ())
        }
        return cls(named, float(document.get("seenAt", 0.0)), [Digest.parse(text) for text in document.get("gone", ())])


class Journal:
    """One reader's place in the file, and the means to add to it. Calls block; not for several threads at once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.root / JOURNAL_FILE
        self._fd = -1
        self._read = 0
        self._seen = 0

    def is_read(self) -> bool:
        """Whether no process has added a line since the last read; takes 2 µs. From any thread."""
        try:
            there = self._path.stat(follow_symlinks=False)
        except OSError:
            return self._fd < 0
        return self._fd >= 0 and (there.st_ino, there.st_size) == (self._number(), self._seen)

    def is_another(self) -> bool:
        """Whether the file that was being read is gone: what index.json says has to be read again."""
        if self._fd < 0:
            return False
        try:
            return self._path.stat(follow_symlinks=False).st_ino != self._number()
        except OSError:
            return True

    def _number(self) -> int:
        """The inode of the file. No other file has this inode while the file is open."""
        try:
            return os.fstat(self._fd).st_ino
        except OSError:  # closed by another thread
            return -1

    def read(self) -> Iterator[CatalogChange]:
        """The lines added since the last read. Raises StoreUnavailable."""
        with reading(self._path):
            if self._fd < 0:
                self._open()
            data = self._next_bytes() if self._fd >= 0 else b""
        whole = data.rfind(b"\n") + 1
        self._read += whole
        for line in data[:whole].split(b"\n"):
            with suppress(ValueError):  # of a later version of ours, or somebody's scribble
                yield CatalogChange.parse(line)

    def add(self, change: CatalogChange) -> int:
        """Write one, and return a descriptor to sync and close. The lock is held, and all has been read.

        Raises StoreFull or StoreUnavailable; then nothing was added.
        """
        with writing(self._path):
            if self._fd < 0:
                with folder(self._layout.root) as parent:
                    self._fd = os.open(JOURNAL_FILE, _GO_ON | os.O_CREAT, 0o644, dir_fd=parent)
                    os.fsync(parent)
            line = change.line()
            os.ftruncate(self._fd, self._read)  # what somebody who was killed had begun
            try:
                write_all(self._fd, line)
            except OSError:
                os.ftruncate(self._fd, self._read)
                raise
            self._read += len(line)
            self._seen = self._read
            return os.dup(self._fd)

    def clear(self) -> None:
        """Index.json has it all. The lock is held, and all has been read. Raises StoreUnavailable."""
        self.close()
        with writing(self._path), suppress(FileNotFoundError), folder(self._layout.root) as parent:
            os.unlink(JOURNAL_FILE, dir_fd=parent)

    @property
    def size(self) -> int:
        """Bytes that have been read or added."""
        return self._read

    def close(self) -> None:
        """Forget the place; idempotent."""
        fd, self._fd, self._read, self._seen = self._fd, -1, 0, 0
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        with suppress(FileNotFoundError), folder(self._layout.root) as parent:
            try:
                self._fd = os.open(JOURNAL_FILE, _GO_ON, dir_fd=parent)
            except PermissionError:
                self._fd = open_file(parent, JOURNAL_FILE)

    def _next_bytes(self) -> bytes:
        size = self._seen = os.fstat(self._fd).st_size
        if size > _MAX_BYTES:
            raise OSError(f"it has more than {_MAX_BYTES} bytes")
        parts = []
        position = self._read
        while position < size and (data := os.pread(self._fd, size - position, position)):
            parts.append(data)
            position += len(data)
        return b"".join(parts)
