"""Accepting encrypted connections: a handshake for each, in limited time, then HTTP over our own TLS."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from registryd.aio.pace import TooFast
from registryd.serving.connections import unread_bytes
from registryd.transfer.tls.stream import TlsStream, until_done
from registryd.transfer.tls.transport import TlsTransport

if TYPE_CHECKING:
    import socket
    import ssl as tls
    from collections.abc import Callable

    from registryd.serving.connections import LimitedServer

_log = logging.getLogger(__name__)


class TlsWelcome:
    """Turns connections that a listener accepts into protocols that speak TLS.

    A handshake that fails or takes longer than a request's head may, ends the connection. Handshakes are connections
    that have asked for nothing yet (`registryd.serving.newcomers`).
    """

    def __init__(self, server: LimitedServer, context: tls.SSLContext) -> None:
        self._server = server
        self._context = context
        self._limits = server.limits
        self._newcomers = server.limits.newcomers()
        self._pace = server.limits.pace_of_handshakes()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._transports: WeakSet[TlsTransport] = WeakSet()
        self._is_closed = False

    def __call__(self) -> asyncio.Protocol:
        """A protocol that gives the socket away as soon as asyncio has accepted it."""
        return _Arrival(self._begin)

    async def give_up_handshakes(self) -> None:
        """Those that are under way, and those of connections that were accepted a moment ago."""
        self._is_closed = True
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def abort_connections(self) -> None:
        """Those that were told to close and are still not rid of what was written."""
        for transport in tuple(self._transports):
            transport.abort()

    def _begin(self, sock: socket.socket) -> None:
        if self._is_closed:
            sock.close()
            return
        address = _address_of(sock)
        try:
            delay = self._pace.take(address)
        except TooFast:
            sock.close()
            return
        if not self._server.has_room_for(address):
            sock.close()
            return
        if not self._has_room() and not (self._newcomers.make_room() or self._server.make_room()):
            _log.warning("a connection is refused: %d are open", self._limits.at_once)
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._welcome(sock, delay), name="TLS handshake")
        self._handshakes.add(task)
        newcomer = _Handshake(sock, task)
        task.add_done_callback(partial(self._end, newcomer))
        self._newcomers.arrive(newcomer)

    def _has_room(self) -> bool:
        return len(self._handshakes) + len(self._server.connections) < self._limits.at_once

    def _end(self, newcomer: _Handshake, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        self._newcomers.leave(newcomer)
        if task.cancelled():  # perhaps before its first step
            newcomer.sock.close()

    async def _welcome(self, sock: socket.socket, delay: float) -> None:
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                if delay:
                    await asyncio.sleep(delay)
                stream = TlsStream(sock, self._context, server_side=True)
                await until_done(stream, stream.shake_hands_now)
            self._transports.add(TlsTransport(stream, self._server()))
        except OSError as error:  # TimeoutError is one
            _log.debug("a handshake failed: %s", error)
            sock.close()
        except BaseException:
            sock.close()
            raise


class _Handshake:
    """A connection that has not yet proved its identity."""

    def __init__(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self.sock = sock
        self.address = _address_of(sock)
        self._task = task

    def is_silent(self) -> bool:
        return not unread_bytes(self.sock.fileno())

    def give_up(self) -> None:
        self._task.cancel()


def _address_of(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:  # it is gone already
        return ""


class _Arrival(asyncio.Protocol):
    def __init__(self, begin: Callable[[socket.socket], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection by a descriptor of our own; asyncio closes its own without a word to the other side."""
        accepted: Any = transport.get_extra_info("socket")
        try:
            sock: socket.socket = accepted.dup()
        except OSError as error:
            _log.warning("a connection is refused: %s", error.strerror)
        else:
            sock.settimeout(0)
            self._begin(sock)
        finally:
            transport.abort()  # type: ignore[attr-defined] # every transport of a socket has it
