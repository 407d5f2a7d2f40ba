"""Whether there is a containerd on this machine, as far as its socket tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_containerd_at(socket: Path) -> bool:
    """Also where its folder is for root alone: whoever connects is told then that he may not."""
    try:
        return socket.is_socket()
    except PermissionError:
        return True
