"""Where this machine's containerd is, as far as sockets tell."""

from __future__ import annotations

import socket as sockets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.config.agent import StoreSettings

PLAIN_SOCKET: Final = Path("/run/containerd/containerd.sock")
# The special ones first: their nodes may have Docker's containerd, too. From the sources of k3s (pkg/agent/containerd),
# k0s (pkg/component/worker/containerd) and MicroK8s (default-args/containerd).
KNOWN_SOCKETS: Final = (
    Path("/run/k3s/containerd/containerd.sock"),
    Path("/run/k0s/containerd.sock"),
    Path("/var/snap/microk8s/common/run/containerd.sock"),
    PLAIN_SOCKET,
)
# It takes connections at once, or not at all.
_CONNECT_SECONDS: Final = 0.5


def is_containerd_at(socket: Path) -> bool:
    """Whether a socket is there, also in a folder for root only: connecting then says that access is denied."""
    try:
        return stat.S_ISSOCK(socket.stat().st_mode)  # Path.is_socket hides what is wrong since Python 3.14
    except PermissionError:
        return True
    except OSError:
        return False


def is_listened_at(path: Path) -> bool:
    """Whether a program accepts connections there, or would if this process had access.

    One that has ended leaves its socket behind, until the next boot.
    """
    try:
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(str(path))
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def socket_of(settings: StoreSettings, *, recorded: Path | None = None, known: Sequence[Path] = KNOWN_SOCKETS) -> Path:
    """The socket of the settings, else of `install`, else the first that can be used, else the first there."""
    if settings.containerd_socket:
        return settings.containerd_socket
    if recorded:
        return recorded
    there = [socket for socket in known if is_containerd_at(socket)]
    return next((socket for socket in there if is_listened_at(socket)), there[0] if there else known[-1])
