"""The containerd that runs: the process behind a socket, and how it was started. Linux tells; nothing is guessed."""

from __future__ import annotations

import os
import socket as sockets
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.node.command_line import flag_in, is_of_the_node, words_of
from registryd.node.config_files import address_in
from registryd.node.distribution import PLAIN
from registryd.node.errors import PathProblem
from registryd.node.host_root import HostRoot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registryd.node.tree import NodeFiles

_PROC: Final = Path("/proc")
_NAME: Final = "containerd"
_CONFIG_FLAGS: Final = ("--config", "-config", "-c")
_ADDRESS_FLAGS: Final = ("--address", "-address", "-a")
_CONNECT_SECONDS: Final = 2.0
_DELETED: Final = " (deleted)"  # proc(5): an upgrade took the file away
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7), struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Process:
    """A containerd that runs.

    Args:
        program: Where it is on the node; None: that cannot be seen from here.
        config: The main file that it was started with.
        executable: The very program that runs, for this process to run it again; also when an upgrade has replaced it.
        files: The file system that it sees, as a path of this process; it may be one of its own.
    """

    pid: int
    program: Path | None
    config: Path
    executable: Path | None = None
    files: Path | None = None


def find_process(root: HostRoot, tree: NodeFiles, socket: Path) -> Process | None:
    """The containerd that listens at a socket of the node; None: none does, or it cannot be seen from here.

    A container sees no processes of the node by the kernel's word; there those below the node's root are gone through.
    """
    listener = _PROC / str(_listener_of(root.locate(socket)))
    if found := _read(listener, is_own=True):
        return found
    return next(_that_listen(root, tree, socket), None)


def _listener_of(socket: Path) -> int:
    """The process that listens on the socket; 0 for no process, or for one in another PID namespace."""
    try:
        folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(f"/proc/self/fd/{folder}/{socket.name}")  # the whole path may be too long for a socket
            data = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size)
            pid: int = _CREDENTIALS.unpack(data)[0]
            return pid
    except OSError:
        return 0
    finally:
        os.close(folder)


def _that_listen(root: HostRoot, tree: NodeFiles, socket: Path) -> Iterator[Process]:
    for folder in sorted((root.path / "proc").glob("[0-9]*")):
        found = _read(folder, is_own=False)
        if not (found and is_of_the_node(folder)) or sees_other_files(root, found, [socket]):
            continue  # one in a container may have another socket of this name
        if _address_of(folder, tree, found) == tree.canonical(socket):
            yield found


def _address_of(folder: Path, tree: NodeFiles, process: Process) -> Path | None:
    """The address of the socket; None for a process that was started with a file that this node does not have."""
    words: list[str] = []
    with suppress(OSError):  # it has ended meanwhile
        words = words_of(folder)
    given = flag_in(words, _ADDRESS_FLAGS)
    if not given and flag_in(words, _CONFIG_FLAGS) and tree.read(process.config) is None:
        return None
    return tree.canonical(Path(given) if given else address_in(tree, process.config))


def _read(folder: Path, *, is_own: bool) -> Process | None:
    """The process; None when it has ended, or is no containerd (systemd passes a socket on)."""
    try:
        name, words = (folder / "comm").read_text().strip(), words_of(folder)
    except OSError:
        return None
    if name != _NAME:
        return None
    config = Path(flag_in(words, _CONFIG_FLAGS) or PLAIN.config)
    executable = folder / "exe" if is_own else None
    program, cwd = _program(folder, words), _link(folder / "cwd")
    return Process(int(folder.name), program, cwd / config, executable, folder / "root")


def _program(folder: Path, words: list[str]) -> Path | None:
    """The containerd program. k3s is one program with many names: its containerd is the one beside it."""
    link = str(_link(folder / "exe", Path())).removesuffix(_DELETED)
    program = Path(link)
    if _NAME in program.name:
        return program
    if program.is_absolute():
        return program.with_name(_NAME)
    return Path(words[0]) if words[0].startswith("/") else None


def _link(path: Path, otherwise: Path = Path("/")) -> Path:
    try:
        return path.readlink()
    except OSError:
        return otherwise


# What it sees


def sees_other_files(root: HostRoot, process: Process | None, paths: Iterable[Path]) -> bool:
    """Whether one of these paths of the node is another file for the process: it runs in a mount namespace of its own.

    False also where that cannot be seen, as from a container without the right to trace the node's processes.
    """
    if process is None or process.files is None:
        return False
    theirs = HostRoot(process.files)
    try:
        return any(_identity(root, path) != _identity(theirs, path) for path in paths)
    except (OSError, PathProblem):
        return False


def _identity(root: HostRoot, path: Path) -> tuple[str, int, int]:
    """The identity of the last existing part of a path, and the rest of the path."""
    here, rest = root.locate(path), ""
    while True:
        try:
            status = here.stat()
        except (FileNotFoundError, NotADirectoryError):
            if here == root.path:
                raise  # the process has ended
            here, rest = here.parent, f"{here.name}/{rest}"
        else:
            return rest, status.st_dev, status.st_ino
