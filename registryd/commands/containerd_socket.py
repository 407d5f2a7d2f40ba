"""The containerd of this node, for commands that talk to it themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.config.agent import StoreSettings
from registryd.failures import CommandFailed
from registryd.store.socket import is_containerd_at, socket_of

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "containerd's gRPC socket. The default is the first socket that the command finds."


def containerd_at(given: Path | None) -> Path:
    """Its socket, by its whole path; the one that is found if none is given. Raises CommandFailed."""
    path = socket_of(StoreSettings(containerd_socket=given))
    if not is_containerd_at(path):
        raise CommandFailed(f"there is no containerd at {path}; --containerd-socket says where it is")
    return path.absolute()
