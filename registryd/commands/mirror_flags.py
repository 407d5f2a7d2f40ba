"""Flags that several of `install`, `uninstall`, `doctor` and `talos` have, from words to values."""

import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from registryd.config.agent import SettingsError
from registryd.doctor.occupancy import Occupant, occupancy_of
from registryd.failures import CommandFailed
from registryd.node.errors import reason_of
from registryd.node.host_root import HostRoot
from registryd.node.hosts_entry import endpoint_of
from registryd.notation import Address, is_endpoint
from registryd.oci.errors import OciError
from registryd.oci.reference import Registry
from registryd.store.socket import is_containerd_at

_HTTP_PORT = 80


def registries_of(texts: Iterable[str]) -> tuple[Registry, ...]:
    """Names, one by one or with commas between them. Raises SettingsError."""
    try:
        return tuple(Registry(name) for text in texts for name in text.split(",") if name)
    except OciError as error:
        raise SettingsError("--registries", str(error)) from error


def endpoint_from(flag: str | None, listen: Address) -> str:
    """The URL at which containerd reaches us. Raises SettingsError for what is none."""
    if flag is None:
        return endpoint_of(listen)
    if not is_endpoint(flag):
        raise SettingsError("--endpoint", f"{flag[:100]!r} is not http(s)://host[:port]")
    return flag.rstrip("/")


def require_ours_or_free(endpoint: str) -> None:
    """Where containerd is to be sent there must be a registryd, or nobody yet. Raises CommandFailed."""
    url = urlsplit(endpoint)
    if url.scheme != "http":
        return  # it speaks TLS, which we have no authority to check
    address = Address(url.hostname or "", url.port or _HTTP_PORT)
    found = occupancy_of(address)
    if found.occupant is Occupant.OTHER:
        raise CommandFailed(
            f"{address} is taken by {found.who} ({found.how}), and containerd would ask it: stop it, or let the "
            "agent listen elsewhere (registry.listen)"
        )


def node_socket(setting: Path | None, root: HostRoot) -> Path | None:
    """As a path of the node, though it be given as it is seen from here."""
    if setting is None:
        return None
    socket = setting.absolute()
    is_seen_from_here = socket.is_relative_to(root.path) and not is_containerd_at(root.locate(socket))
    return Path("/") / socket.relative_to(root.path) if is_seen_from_here else socket


def root_from(flag: Path) -> HostRoot:
    """The node's file system. Raises CommandFailed where there is none: a node without any file is set up anew."""
    try:
        is_folder = stat.S_ISDIR(flag.stat().st_mode)  # Path.is_dir hides what is wrong since Python 3.14
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        raise CommandFailed(f"--root: {flag}: {reason_of(error)}") from error
    if not is_folder:
        raise SettingsError("--root", f"{flag} is not a folder; name the one that the node's / is mounted at")
    return HostRoot(flag.absolute())  # not resolved: /proc/PID/root would become the root folder of this process
