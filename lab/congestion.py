"""How connections of the lab avoid congestion: as Linux does where nobody has chosen, whatever this machine prefers.

Else figures say more about the machine than about registryd: with BBR, which some machines have as their default, a
relay over loopback has a third of the throughput.
A namespace may only choose what the machine allows to everybody, but its routes may name anything that the kernel has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CONTROLS: Final = Path("/proc/sys/net/ipv4")
_AVAILABLE: Final = _CONTROLS / "tcp_available_congestion_control"
_MACHINES: Final = _CONTROLS / "tcp_congestion_control"
# Another one, or "machine" for the default of the machine, to see what difference it makes.
_WANTED: Final = os.environ.get("LAB_CONGESTION_CONTROL", "cubic")

LOOPBACK_ROUTES: Final = (
    "local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1 table local",
    "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 table local",
)


def machines_own() -> str:
    """What the machine has chosen, such as "cubic" or "bbr"."""
    return _MACHINES.read_text().strip()


def chosen() -> str:
    """What connections in namespaces of the lab have."""
    return _WANTED if _WANTED in _AVAILABLE.read_text().split() else machines_own()


def choose_for(*routes: str) -> list[str]:
    """The commands (for `ip -batch`) that let these routes of a namespace, as `ip route` shows them, have it."""
    return [] if chosen() == machines_own() else [f"route change {route} congctl {chosen()}" for route in routes]
