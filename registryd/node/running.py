"""Whether the containerd that runs has read its configuration as it is now."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.node.host_root import HostRoot

_FLAGS = frozenset({b"--config", b"-c"})
_START_TIME = 19  # proc(5): field 22 of /proc/PID/stat, counted from behind the name, which may have spaces


def has_started_since(root: HostRoot, config: Path, changed: Path) -> bool:
    """Whether a containerd with this main file runs, and every one began after `changed` was written.

    False when that cannot be seen, as in a container that does not see the node's processes.
    """
    try:
        written = root.locate(changed).stat().st_mtime
        starts = list(_starts(root.path / "proc", config))
    except (OSError, ValueError, IndexError):
        return False
    return bool(starts) and min(starts) > written


def _starts(proc: Path, config: Path) -> Iterator[float]:
    # Not /proc/stat's btime: that is in whole seconds, and a containerd that is started at once seemed to be older.
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if (folder / "comm").read_text() == "containerd\n" and _reads(folder, config):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                yield booted + int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")


def _reads(process: Path, config: Path) -> bool:
    """By its command line; without the flag it reads its default file, and the caller may mean no other."""
    words = (process / "cmdline").read_bytes().split(b"\0")
    given = [word.partition(b"=")[2] for word in words if word.startswith(b"--config=")]
    given += [after for flag, after in pairwise(words) if flag in _FLAGS]
    return not given or os.fsencode(config) in given
