"""Changes that survive a power cut whole or not at all, and the lock that they are made under."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def lock_file(parent: int, name: str) -> Iterator[None]:
    """Hold an exclusive lock, waiting for it; the kernel lets go of it when the process dies, however it dies."""
    fd = open_lock(parent, name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def open_lock(parent: int, name: str) -> int:
    """Open a lock file, making it if need be."""
    return os.open(name, _WRITE, 0o644, dir_fd=parent)


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file unless someone, in this process or another, has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_file(parent: int, name: str) -> int:
    """Open a file that must not exist yet, for writing, and for reading what was written."""
    return os.open(name, _WRITE ^ os.O_WRONLY | os.O_RDWR | os.O_EXCL, 0o644, dir_fd=parent)


def open_to_go_on(parent: int, name: str) -> int:
    """Open a file that is there for reading, and for writing more at its end."""
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    os.lseek(fd, 0, os.SEEK_END)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however little the kernel takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def replace_file(parent: int, name: str, data: bytes) -> None:
    """Give a file new contents: readers see the old or the new ones, never something between.

    The caller holds a lock, so the name of the file in the making can be fixed, and a killed process leaves at most
    that one, for the next to overwrite.
    """
    making = f".{name}"
    fd = os.open(making, _WRITE | os.O_TRUNC, 0o644, dir_fd=parent)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    move(making, parent, name, parent)


def move(source: str, source_parent: int, target: str, target_parent: int, sync: FolderSync | None = None) -> None:
    """Rename a file, replacing what has the name, and make the new name durable."""
    os.rename(source, target, src_dir_fd=source_parent, dst_dir_fd=target_parent)
    if sync:
        sync.changed(target_parent)
    else:
        os.fsync(target_parent)


class FolderSync:
    """Makes names in one folder durable, once for all tasks that changed it while others waited for the disk."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._changes = itertools.count(1)
        self._latest = 0
        self._synced = 0

    def changed(self, fd: int) -> None:
        """Return when a change that has been made is durable; `fd` is the folder."""
        own = self._latest = next(self._changes)
        with self._turn:
            if self._synced < own:
                latest = self._latest
                os.fsync(fd)
                self._synced = max(self._synced, latest)


def exists(parent: int, name: str) -> bool:
    """Whether something has the name, links to nowhere included."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
