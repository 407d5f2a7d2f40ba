"""Files as values, and where they are read: the node's own, or the node as it would be after some changes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from registryd.node.errors import NotAFile, PathProblem, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from registryd.node.host_root import HostRoot

# More than any configuration, less than what would hurt: someone may have put an image where a file should be.
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FileImage:
    """A file: its bytes and whose it is. Times are not part of it."""

    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    @property
    def text(self) -> str:
        """Raises UnicodeDecodeError, a ValueError, when it is not UTF-8."""
        return self.data.decode()


class NodeFiles(Protocol):
    """A node's files. Paths are the node's. An `OSError` other than absence becomes PathProblem."""

    def canonical(self, path: Path) -> Path:
        """The path without symbolic links."""

    def read(self, path: Path) -> FileImage | None:
        """The file; None when there is none."""

    def is_folder(self, path: Path) -> bool: ...

    def is_read_only(self, path: Path) -> bool:
        """Whether the file system is read-only; access rights do not count."""

    def names(self, path: Path) -> tuple[str, ...]:
        """The names in a folder, in order; empty when it does not exist."""


@dataclass(frozen=True, slots=True)
class NodeTree:
    """The files as they are."""

    root: HostRoot

    def canonical(self, path: Path) -> Path:
        return self.root.canonical(path)

    def read(self, path: Path) -> FileImage | None:
        try:
            with open(self.root.locate(path), "rb", opener=_without_waiting) as file:
                return _image(file.fileno(), file.read(_MAX_BYTES + 1), path)
        except IsADirectoryError as error:
            raise NotAFile(f"{path} is a folder, and should be a file") from error
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise PathProblem(f"cannot read {path}: {reason_of(error)}") from error

    def is_folder(self, path: Path) -> bool:
        return self.root.locate(path).is_dir()

    def is_read_only(self, path: Path) -> bool:
        here = self.root.locate(path)
        there = next((each for each in (here, *here.parents) if each.exists()), here)
        try:
            return bool(os.statvfs(there).f_flag & os.ST_RDONLY)
        except OSError:
            return False

    def names(self, path: Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(entry.name for entry in self.root.locate(path).iterdir()))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise PathProblem(f"cannot list {path}: {reason_of(error)}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting. The open of a named pipe would wait for a process that writes."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(mode := os.fstat(descriptor).st_mode) or stat.S_ISDIR(mode):
        return descriptor
    os.close(descriptor)
    raise NotAFile(f"{path} is a pipe or a device, and should be a file")


def _image(descriptor: int, data: bytes, path: Path) -> FileImage:
    if len(data) > _MAX_BYTES:
        raise PathProblem(f"{path} is larger than {_MAX_BYTES >> 20} MiB, which no configuration is")
    status = os.fstat(descriptor)
    return FileImage(data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


@dataclass(frozen=True, slots=True)
class ChangedTree:
    """`base`, in which some files have other content (None: are not there) and some folders, if empty, are gone."""

    base: NodeFiles
    files: Mapping[Path, FileImage | None] = field(default_factory=dict)
    gone_if_empty: frozenset[Path] = frozenset()

    def canonical(self, path: Path) -> Path:
        return self.base.canonical(path)

    def read(self, path: Path) -> FileImage | None:
        path = self.canonical(path)
        return self.files[path] if path in self.files else self.base.read(path)

    def is_folder(self, path: Path) -> bool:
        path = self.canonical(path)
        return self.base.is_folder(path) and not (path in self.gone_if_empty and not self.names(path))

    def is_read_only(self, path: Path) -> bool:
        return self.base.is_read_only(path)

    def names(self, path: Path) -> tuple[str, ...]:
        path = self.canonical(path)
        return tuple(name for name in self.base.names(path) if self._is_there(path / name))

    def _is_there(self, path: Path) -> bool:
        path = self.canonical(path)
        if path in self.files:
            return self.files[path] is not None
        return not self.base.is_folder(path) or self.is_folder(path)


def matching(tree: NodeFiles, pattern: Path) -> tuple[Path, ...]:
    """The files that a pattern of `imports` means, in the order in which Go's filepath.Glob has them."""
    if "*" not in str(pattern):
        return (pattern,)
    return tuple(
        folder / name
        for folder in matching(tree, pattern.parent)
        for name in tree.names(folder)
        if fnmatchcase(name, pattern.name)
    )
