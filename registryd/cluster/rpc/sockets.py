"""This process's sockets at gRPC's door, found among its descriptors: gRPC accepts and closes them itself."""

from __future__ import annotations

import fcntl
import os
import socket
import termios
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.identity.requester import Requester

if TYPE_CHECKING:
    from collections.abc import Iterable

_DESCRIPTORS: Final = "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class End:
    """The other end of a connection, by whatever way it was found out."""

    address: str
    port: int


@dataclass(slots=True, eq=False)
class Connection:
    """One that was accepted."""

    end: End
    descriptor: int
    unsent: int = 0
    stuck_since: float | None = None
    """Since when the other end has taken nothing of what is to be sent."""


@dataclass(frozen=True, slots=True)
class _Listener:
    descriptor: int


class Sockets:
    """Those that a port has."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[str, Connection | _Listener | None] = {}
        """By the name of their socket, in the order in which they were seen; None for sockets of another kind."""

    @property
    def connections(self) -> list[Connection]:
        """In the order in which they were seen."""
        return [one for one in self._known.values() if isinstance(one, Connection)]

    def see(self, now: float) -> list[Connection]:
        """Look which there are; returns those that are new. What was known is not looked into again."""
        seen: dict[str, int] = {}
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - their number is all that is wanted
            try:
                target = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115 - as above
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:"):
                seen[target] = int(name)
        self._known = {target: one for target, one in self._known.items() if target in seen}
        new = {target: self._look_into(descriptor) for target, descriptor in seen.items() if target not in self._known}
        self._known.update(new)
        for one in self.connections:
            _look_whether_stuck(one, now)
        return [one for one in new.values() if isinstance(one, Connection)]

    def listeners(self) -> list[socket.socket]:
        """Duplicates of those that listen, for the caller to close."""
        found = []
        for one in self._known.values():
            if isinstance(one, _Listener):
                try:
                    sock = _duplicate(one.descriptor)
                except OSError:
                    continue  # closed meanwhile
                if _listens(sock, self._port):
                    found.append(sock)
                else:
                    sock.close()
        return found

    def end(self, connections: Iterable[Connection]) -> None:
        """Shut them down; gRPC, whose they are, then closes them."""
        for one in connections:
            try:
                with _duplicate(one.descriptor) as sock:
                    # Another one may have its number by now.
                    if _end_of(sock, self._port) == one.end:
                        sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has gone by itself

    def _look_into(self, descriptor: int) -> Connection | _Listener | None:
        """What a descriptor is; None if it has nothing to do with the door."""
        try:
            with _duplicate(descriptor) as sock:
                if _listens(sock, self._port):
                    return _Listener(descriptor)
                end = _end_of(sock, self._port)
        except OSError:
            return None
        return Connection(end, descriptor) if end else None


def _duplicate(descriptor: int) -> socket.socket:
    """Raises OSError for one that is closed, or that something which is no socket has by now."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _is_of(sock: socket.socket, port: int) -> bool:
    return sock.family in {socket.AF_INET, socket.AF_INET6} and sock.getsockname()[1] == port


def _listens(sock: socket.socket, port: int) -> bool:
    return _is_of(sock, port) and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _end_of(sock: socket.socket, port: int) -> End | None:
    if not _is_of(sock, port):
        return None
    host, other_port = sock.getpeername()[:2]
    return End(Requester(host.partition("%")[0]).address, other_port)


def _look_whether_stuck(connection: Connection, now: float) -> None:
    """Whether what is to be sent is as much as it was: of what is taken, something is acknowledged."""
    count = array("i", [0])
    try:
        fcntl.ioctl(connection.descriptor, termios.TIOCOUTQ, count)
    except OSError:
        count[0] = 0  # closed meanwhile
    if not count[0] or count[0] != connection.unsent:
        connection.stuck_since = None
    elif connection.stuck_since is None:
        connection.stuck_since = now
    connection.unsent = count[0]
