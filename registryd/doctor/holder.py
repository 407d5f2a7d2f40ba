"""Which program holds a port, from /proc; only root sees those of others."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.notation import Address

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


def holder_of(address: Address) -> str:
    """Name and process id of the program that takes connections to an address; empty when that cannot be seen.

    Another may have the same port of another address of this machine.
    """
    inodes = set(_inodes(address))
    for process in _PROC.iterdir():
        if process.name.isdigit() and inodes & set(_sockets(process)):
            with suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _inodes(address: Address) -> Iterator[str]:
    names = _names_of(address.host)
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                host, _, port = fields[1].rpartition(":")
                if fields[3] == _LISTENING and int(port, 16) == address.port and (not names or host in names):
                    yield fields[9]


def _names_of(host: str) -> frozenset[str]:
    """As proc(5) writes those that take a connection to it, words of 32 bits in the machine's order; empty: any."""
    try:
        ip = ip_address(host)
    except ValueError:
        return frozenset()
    if isinstance(ip, IPv4Address):
        mapped = ip_address(f"::ffff:{ip}")
        return frozenset({_hex(ip), _hex(mapped), "0" * 8, "0" * 32})
    return frozenset({_hex(ip), "0" * 32})


def _hex(ip: IPv4Address | IPv6Address) -> str:
    words = (int.from_bytes(ip.packed[at : at + 4], sys.byteorder) for at in range(0, len(ip.packed), 4))
    return "".join(f"{word:08X}" for word in words)


def _sockets(process: Path) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if match := _SOCKET.fullmatch(str(descriptor.readlink())):
                    yield match[1]
