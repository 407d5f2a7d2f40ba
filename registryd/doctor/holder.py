"""Which program holds a port, from /proc; only root sees those of others."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


def holder_of(port: int) -> str:
    """Name and process id of the program that listens on a TCP port; empty when that cannot be seen."""
    inodes = set(_inodes(port))
    for process in _PROC.iterdir():
        if process.name.isdigit() and inodes & set(_sockets(process)):
            with suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _sockets(process: Path) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if match := _SOCKET.fullmatch(str(descriptor.readlink())):
                    yield match[1]
