"""The connections at the door of gRPC, and their calls: nobody has all of them.

gRPC accepts connections itself. It bounds how many there are, and ends handshakes that take too long. It does not
know that ten of one address which say nothing should go before one of another. So we look at this process's sockets:
which of them are connections to the door, and which of those have not carried a call yet.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from registryd.aio.shares import NoPlace, Shares
from registryd.aio.unexpected import note_unexpected
from registryd.cluster.rpc import limits
from registryd.identity.requester import Requester
from registryd.transfer.errors import SinkClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_DESCRIPTORS: Final = "/proc/self/fd"
# Looking costs a microsecond and a half for each descriptor. More often while places are short.
_LOOK_SECONDS: Final = 1.0
_SHORT_SECONDS: Final = 0.2
# Of one address, without a call: a node has one connection to another, and a few more while it restarts. Behind one
# address that is translated (NAT) there may be many nodes, which call as soon as they have connected.
_MOST_SILENT_OF_ADDRESS: Final = 16


class CallRefused(Exception):
    """Whoever asks has as many calls under way as one may have."""


@dataclass(frozen=True, slots=True)
class _End:
    """The other end of a connection, by whatever way it was found out."""

    address: str
    port: int


@dataclass(slots=True)
class _Connection:
    end: _End
    descriptor: int


@dataclass(slots=True, eq=False)
class Call:
    """One call, until gRPC is rid of its answer."""

    end: _End
    answered_at: float | None = None


class Caller(Protocol):
    """As much of gRPC's context of a call as is needed here."""

    def peer(self) -> str: ...

    def add_done_callback(self, callback: Any, /) -> None: ...


class Callers:
    """Who is connected, and who calls."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most`: connections that gRPC accepts."""
        self._most = most
        self._clock = clock
        self._called: set[_End] = set()
        self._calls: dict[Call, None] = {}
        self._of_address: Counter[str] = Counter()
        self._idle: set[_End] = set()
        """Whose answers are not taken: their connections are to be ended."""
        self._connections: dict[str, _Connection | None] = {}
        """By the name of their socket, in the order in which they were seen; None for sockets of another kind."""
        self._small: Shares[str] = Shares(
            most=limits.MAX_SMALL_READS,
            most_of_one=limits.MAX_SMALL_READS_OF_ADDRESS,
            patience=limits.SMALL_READ_PATIENCE,
        )
        self._large: Shares[str] = Shares(most=limits.MAX_LARGE_READS, most_of_one=limits.MAX_LARGE_READS_OF_ADDRESS)

    @contextmanager
    def call(self, caller: Caller) -> Iterator[Call]:
        """One that has come, until it is answered. Raises CallRefused."""
        end = _end_of_grpc(caller.peer())
        self._called.add(end)
        if self._of_address[end.address] >= limits.MAX_CALLS_OF_ADDRESS:
            raise CallRefused(f"{end.address} has {limits.MAX_CALLS_OF_ADDRESS} calls under way")
        call = Call(end)
        self._calls[call] = None
        self._of_address[end.address] += 1
        caller.add_done_callback(lambda _: self._over(call))
        try:
            yield call
        finally:
            call.answered_at = self._clock()

    @asynccontextmanager
    async def read(self, call: Call, length: int) -> AsyncIterator[None]:
        """The place of a Read of that many bytes. Raises CallRefused, and ends who does not take what is sent."""
        places = self._small if length <= limits.READ_CHUNK_BYTES else self._large
        try:
            async with places.place(call.end.address):
                yield
        except NoPlace as error:
            raise CallRefused(f"busy: {error}") from error
        except SinkClosed:
            self._idle.add(call.end)
            raise

    def _over(self, call: Call) -> None:
        if call in self._calls:
            del self._calls[call]
            self._of_address[call.end.address] -= 1
            if not self._of_address[call.end.address]:
                del self._of_address[call.end.address]

    async def keep_within_bounds(self, port: int) -> None:
        """End those that are too many, until cancelled."""
        while True:
            try:
                self.look(port)
            except Exception as error:  # noqa: BLE001 - gRPC's own bounds hold all the same
                note_unexpected("looking at the connections of peers", error)
            await asyncio.sleep(_SHORT_SECONDS if self._is_short() else _LOOK_SECONDS)

    def look(self, port: int) -> None:
        """See who is there, and end those that are too many."""
        self._see(port)
        connections = [one for one in self._connections.values() if one]
        self._called &= {one.end for one in connections}
        silent = [one for one in connections if one.end not in self._called]
        for one in (*self._too_many(silent, len(connections)), *self._unwelcome(connections)):
            _end(one, port)

    def _unwelcome(self, connections: list[_Connection]) -> list[_Connection]:
        """Those that do not take their answers, and of one address those that came after its share was full."""
        since = self._clock() - limits.UNTAKEN_SECONDS
        idle = self._idle | {
            call.end for call in self._calls if call.answered_at is not None and call.answered_at < since
        }
        self._idle.clear()
        of_address: Counter[str] = Counter()
        found = []
        for one in connections:
            of_address[one.end.address] += 1
            if one.end in idle or of_address[one.end.address] > limits.MAX_CONNECTIONS_OF_ADDRESS:
                found.append(one)
        return found

    def _is_short(self) -> bool:
        return 2 * sum(1 for one in self._connections.values() if one) > self._most

    def _too_many(self, silent: list[_Connection], connected: int) -> Iterator[_Connection]:
        """The last ones of each address stay, and of all no more than leave a quarter of the places free."""
        of_address: dict[str, int] = {}
        kept: list[_Connection] = []
        for one in reversed(silent):
            count = of_address[one.end.address] = of_address.get(one.end.address, 0) + 1
            if count > _MOST_SILENT_OF_ADDRESS:
                connected -= 1
                yield one
            else:
                kept.append(one)
        while kept and 4 * connected > 3 * self._most:
            connected -= 1
            yield kept.pop()

    def _see(self, port: int) -> None:
        """Which sockets there are; those that were known are not looked into again."""
        seen: dict[str, int] = {}
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - their number is all that is wanted
            try:
                target = os.readlink(f"{_DESCRIPTORS}/{name}")  # noqa: PTH115 - as above
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:"):
                seen[target] = int(name)
        self._connections = {target: one for target, one in self._connections.items() if target in seen}
        for target, descriptor in seen.items():
            if target not in self._connections:
                self._connections[target] = _connection(descriptor, port)


def _connection(descriptor: int, port: int) -> _Connection | None:
    """What a descriptor is; None if it is no connection to the door."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            end = _end_of(sock, port)
    except OSError:
        return None
    return _Connection(end, descriptor) if end else None


def _end_of(sock: socket.socket, port: int) -> _End | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or sock.getsockname()[1] != port:
        return None
    host, other_port = sock.getpeername()[:2]  # OSError for the socket that listens
    return _End(Requester(host.partition("%")[0]).address, other_port)


def _end(connection: _Connection, port: int) -> None:
    """Shut it down; gRPC, whose it is, then closes it. Another one may have its number by now, so that is looked at."""
    try:
        with socket.socket(fileno=os.dup(connection.descriptor)) as sock:
            if _end_of(sock, port) == connection.end:
                sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has gone by itself


@lru_cache(maxsize=1024)
def _end_of_grpc(peer: str) -> _End:
    _, _, endpoint = unquote(peer).partition(":")
    _, _, port = endpoint.rpartition(":")
    return _End(Requester.of_grpc(peer).address, int(port))
