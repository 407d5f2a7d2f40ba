"""Ports for programs that are told where to listen."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_GIVEN_BY_THE_KERNEL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Below are those of programs that the machine may run anyhow.
_LOWEST: Final = 10_000
_HIGHEST: Final = 65_535


def free_ports(count: int) -> list[int]:
    """So many on loopback that nobody listens on now.

    They are none of those that the kernel gives to whoever asks for any: until the program listens, which takes a busy
    machine seconds, another test would get one of those.
    """
    first, last = map(int, _GIVEN_BY_THE_KERNEL.read_text().split())
    candidates = [*range(_LOWEST, first), *range(last + 1, _HIGHEST + 1)] or list(range(_LOWEST, _HIGHEST + 1))
    random.shuffle(candidates)
    found: list[int] = []
    while len(found) < count:
        port = candidates.pop()
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            found.append(port)
    return found
