"""Files that others write, read in the event loop: a read ends at once, whatever stands at the path."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_plain(path: Path, *, most_bytes: int) -> bytes:
    """The bytes of a file.

    Raises OSError, also for what is not a file and for a file larger than `most_bytes`; its `strerror` goes on after
    "PATH: ".
    """
    with open(path, "rb", opener=_without_waiting) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes} bytes", str(path))
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting. The open of a named pipe would wait for a process that writes."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # of a folder, `open` says what is wrong
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is a pipe or a device, and should be a file", path)
