"""Which store this node's agent serves: signs that there is a containerd, and the one that was set up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.config.agent import StoreKind
from registryd.store.choice import Choosing

if TYPE_CHECKING:
    from registryd.config.agent import Settings

_log = logging.getLogger(__name__)

# The record of `registryd install` (registryd.node.record_store).
_RECORD: Final = Path("/var/lib/registryd/node/record.json")


def choosing_of(settings: Settings) -> Choosing:
    """The signs by which to choose. A token is for a containerd to show, so a node with a configured token has one."""
    is_signed = bool(settings.registry.token_file) or settings.agent.configure_containerd
    return Choosing(settings.store, recorded_socket(settings), is_signed)


def recorded_socket(settings: Settings) -> Path | None:
    """The socket of the containerd that `install` has set up; None without one, or if a setting names a socket."""
    store = settings.store
    if store.containerd_socket or store.kind is StoreKind.DIRECTORY or not _is_there(_RECORD):
        return None
    # Here, because most nodes have no record.
    from registryd.node.disk import Disk  # noqa: PLC0415
    from registryd.node.errors import NodeError  # noqa: PLC0415
    from registryd.node.host_root import HostRoot  # noqa: PLC0415
    from registryd.node.record_store import RecordStore  # noqa: PLC0415

    try:
        record = RecordStore(HostRoot(), Disk(), _RECORD.parent).load()
    except NodeError as error:
        _log.warning("the record of `registryd install` is ignored: %s", error)
        return None
    return record.socket if record else None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
