"""Connections that do not leave the machine: there is no network between both ends to be careful with."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# reno sends as fast as the receiver reads, and is the one that every kernel has and allows to every user. BBR, which
# some nodes have as their default, paces what it sends by timers: a relay within the machine had 2.7 GB/s in place of 8
# (docs/benchmarks.md).
_UNPACED: Final = b"reno"


def send_unpaced(listeners: Iterable[socket.socket]) -> None:
    """Have all connections that these sockets accept send without pacing, whatever the node's default is."""
    for listener in listeners:
        with suppress(OSError):  # a sandbox with a TCP of its own: its default is good enough
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)
