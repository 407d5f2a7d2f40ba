"""Folders and files below a root, opened one component at a time, so that no symbolic link leads out of it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Non-blocking, for opening a FIFO that someone put there must not wait for its writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def folder(root: Path, *names: str) -> Iterator[int]:
    """A folder below the root, open for the length of the block; raises as `open_folder` does."""
    fd = open_folder(root, *names)
    try:
        yield fd
    finally:
        os.close(fd)


def open_folder(root: Path, *names: str) -> int:
    """The descriptor of a folder below the root. The root itself may be a link: that is the operator's choice."""
    fd = os.open(root, _FOLDER)
    for name in names:
        parent = fd
        try:
            fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
    return fd


def make_folder(root: Path, *names: str) -> None:
    """Make a folder below the root, durably; what exists already stays as it is."""
    for depth, name in enumerate(names):
        with folder(root, *names[:depth]) as parent, suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
            os.fsync(parent)


def open_file(parent: int, name: str) -> int:
    """Open a file for reading; raises OSError with ELOOP for a link."""
    return os.open(name, _FILE, dir_fd=parent)


def read_file(parent: int, name: str, *, limit: int) -> bytes:
    """All of a small file; raises OSError, also for one with more than `limit` bytes."""
    with open(open_file(parent, name), "rb", buffering=0) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{name} has more than {limit} bytes")
    return data
