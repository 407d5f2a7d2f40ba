"""This process's sockets at gRPC's door, found among its descriptors: gRPC accepts and closes them itself."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.cluster.rpc import system_calls
from registryd.identity.requester import Requester

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class End:
    """The other end of a connection, from gRPC or from the kernel."""

    address: str
    port: int


@dataclass(slots=True, eq=False)
class Connection:
    """An accepted connection."""

    end: End
    descriptor: int
    address: bytes
    """Of the other end, as the kernel writes it."""
    unsent: int = 0
    stuck_since: float | None = None
    """Since when the other end has taken nothing of what is to be sent."""


# Of 30 KB and more each: from here on it is worth some milliseconds to give their memory back.
_MANY: Final = 64


class Sockets:
    """The sockets of a port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._descriptors: int | tuple[int, ...] = 0
        self._most = 0
        self._known: dict[tuple[int, bytes], Connection | None] = {}
        """By number and other end, in the order in which they were seen; None for connections of other doors."""

    def has_changed(self) -> bool:
        """Whether the number of this process's descriptors has changed since the last call; costs microseconds.

        Nothing is accumulated while it stays the same: for each connection that came, something else has gone.
        """
        before, self._descriptors = self._descriptors, system_calls.open_descriptors()
        self._most = max(self._most, self._count)
        return before != self._descriptors

    def has_emptied(self) -> bool:
        """Whether many of the descriptors that there were at once have gone since this was true the last time.

        At whichever door: what they needed lies among memory in use.
        """
        if self._most - self._count < _MANY:
            return False
        self._most = self._count
        return True

    @property
    def _count(self) -> int:
        return self._descriptors if isinstance(self._descriptors, int) else len(self._descriptors)

    @property
    def connections(self) -> list[Connection]:
        """The connections in the order in which they were seen."""
        return [one for one in self._known.values() if one]

    def see(self, now: float) -> list[Connection]:
        """Look at the present sockets; returns the new ones. Known sockets are not examined again."""
        seen = [
            (descriptor, address)
            for descriptor in system_calls.descriptors()
            if (address := system_calls.other_end(descriptor)) is not None
        ]
        there = set(seen)
        self._known = {key: one for key, one in self._known.items() if key in there}
        new = {key: self._look_into(*key) for key in seen if key not in self._known}
        self._known.update(new)
        for one in self.connections:
            _look_whether_stuck(one, now)
        return [one for one in new.values() if one]

    def listeners(self) -> list[socket.socket]:
        """Duplicates of the listening sockets, for the caller to close."""
        found = []
        for descriptor in system_calls.descriptors():
            if not self._is_of_door(descriptor) or system_calls.other_end(descriptor) is not None:
                continue
            try:
                sock = socket.socket(fileno=os.dup(descriptor))
            except OSError:
                continue  # closed meanwhile
            # A connection that was reset has no other end, either.
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(sock)
            else:
                sock.close()
        return found

    def end(self, connections: Iterable[Connection]) -> None:
        """Shut them down; gRPC, whose they are, then closes them."""
        for one in connections:
            system_calls.shut_down(one.descriptor, one.address)

    def _look_into(self, descriptor: int, address: bytes) -> Connection | None:
        """None if it has nothing to do with the door."""
        if not self._is_of_door(descriptor) or (end := system_calls.host_and_port(address)) is None:
            return None
        host, port = end
        return Connection(End(Requester(host).address, port), descriptor, address)

    def _is_of_door(self, descriptor: int) -> bool:
        own = system_calls.own_end(descriptor)
        end = system_calls.host_and_port(own) if own else None
        return end is not None and end[1] == self._port


def _look_whether_stuck(connection: Connection, now: float) -> None:
    """Whether what is to be sent is as much as it was: of what is taken, something is acknowledged."""
    count = system_calls.unacknowledged_bytes(connection.descriptor)
    if not count or count != connection.unsent:
        connection.stuck_since = None
    elif connection.stuck_since is None:
        connection.stuck_since = now
    connection.unsent = count
