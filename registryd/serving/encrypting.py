"""Accepting encrypted connections: a handshake for each, in limited time, then HTTP over our own TLS."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from registryd.transfer.tls_stream import TlsStream, until_done
from registryd.transfer.tls_transport import TlsTransport

if TYPE_CHECKING:
    import socket
    import ssl as tls
    from collections.abc import Callable

    from registryd.serving.connections import ConnectionLimits

_log = logging.getLogger(__name__)


class TlsWelcome:
    """Turns connections that a listener accepts into protocols that speak TLS.

    A handshake that fails or takes longer than a request's head may, ends the connection; no more are under way than
    there may be connections.
    """

    def __init__(
        self, make_protocol: Callable[[], asyncio.Protocol], context: tls.SSLContext, limits: ConnectionLimits
    ) -> None:
        self._make_protocol = make_protocol
        self._context = context
        self._limits = limits
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
        if len(self._handshakes) >= self._limits.at_once:
            _log.warning("a connection is refused: %d handshakes are under way", self._limits.at_once)
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._welcome(sock), name="TLS handshake")
        self._handshakes.add(task)
        task.add_done_callback(partial(self._end, sock))

    def _end(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        if task.cancelled():  # perhaps before its first step
            sock.close()

    async def _welcome(self, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                stream = TlsStream(sock, self._context, server_side=True)
                await until_done(stream, stream.shake_hands_now)
            self._transports.add(TlsTransport(stream, self._make_protocol()))
        except OSError as error:  # TimeoutError is one
            _log.debug("a handshake failed: %s", error)
            sock.close()
        except BaseException:
            sock.close()
            raise


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
