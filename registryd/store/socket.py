"""Where this machine's containerd is, as far as sockets tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.settings import StoreSettings

PLAIN_SOCKET: Final = Path("/run/containerd/containerd.sock")
# The special ones first: their nodes may have Docker's containerd, too. From the sources of k3s (pkg/agent/containerd),
# k0s (pkg/component/worker/containerd) and MicroK8s (default-args/containerd).
KNOWN_SOCKETS: Final = (
    Path("/run/k3s/containerd/containerd.sock"),
    Path("/run/k0s/containerd.sock"),
    Path("/var/snap/microk8s/common/run/containerd.sock"),
    PLAIN_SOCKET,
)


def is_containerd_at(socket: Path) -> bool:
    """Also where its folder is for root alone: whoever connects is told then that he may not."""
    try:
        return socket.is_socket()
    except PermissionError:
        return True


def socket_of(settings: StoreSettings, *, recorded: Path | None = None, known: Sequence[Path] = KNOWN_SOCKETS) -> Path:
    """The one that the settings name, else the one that `install` has set up, else the first that is there."""
    if settings.containerd_socket:
        return settings.containerd_socket
    if recorded:
        return recorded
    return next((socket for socket in known if is_containerd_at(socket)), known[-1])
