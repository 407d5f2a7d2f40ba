"""A pipe: where the kernel keeps bytes between two sockets without showing them to us."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# The default limit of an unprivileged process (/proc/sys/fs/pipe-max-size). The kernel allots slots, not memory.
_PIPE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pipe:
    """Both ends, non-blocking, and how many bytes it may hold."""

    read_end: int
    write_end: int
    capacity: int


@contextmanager
def open_pipe() -> Iterator[Pipe]:
    """A pipe as large as the user's quota lets it be.

    A user without privileges has 64 MiB of pipes (/proc/sys/fs/pipe-user-pages-soft); the 65th keeps the two pages
    that it was born with, and is slower, not broken.
    """
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(PermissionError):
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ))
    finally:
        os.close(read_end)
        os.close(write_end)
