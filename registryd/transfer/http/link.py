"""The ways in which bytes travel over a connected TCP socket: as they are, or encrypted.

Another way over TCP is another `Link`. A transport without such a socket is another `Body` (`registryd.transfer.body`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from registryd.transfer.tls.stream import until_done

if TYPE_CHECKING:
    import socket

    from registryd.transfer.tls.stream import TlsStream


class Link(Protocol):
    """A connected, non-blocking socket and how bytes travel over it. A fault of the connection is an OSError."""

    @property
    def socket(self) -> socket.socket:
        """The socket, for its options and for waiting."""

    @property
    def splice_fd(self) -> int | None:
        """The descriptor that the kernel can splice from; None when the bytes are not the socket's own."""

    @property
    def is_empty(self) -> bool:
        """Whether everything that was taken from the socket has been received."""

    def rest(self) -> None:
        """Give back the memory that only a body needs."""

    async def send(self, data: bytes) -> None:
        """Send these bytes."""

    def receive_now(self, buffer: memoryview) -> int:
        """Take all that is there, as far as it fits; 0 is the end. Raises BlockingIOError when there is nothing yet."""

    def close(self) -> None:
        """Close the socket; idempotent."""


class PlainLink:
    """The socket itself."""

    is_empty = True

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.receive_now = sock.recv_into

    @property
    def splice_fd(self) -> int | None:
        return self.socket.fileno()

    def rest(self) -> None:
        """There is no memory but the kernel's."""

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def close(self) -> None:
        self.socket.close()


class TlsLink:
    """A TLS stream whose handshake is over."""

    splice_fd = None

    def __init__(self, stream: TlsStream) -> None:
        self.socket = stream.socket
        self.receive_now = stream.receive_now
        self._stream = stream

    @property
    def is_empty(self) -> bool:
        return self._stream.is_quiet

    def rest(self) -> None:
        self._stream.rest()

    async def send(self, data: bytes) -> None:
        self._stream.seal(data)
        await until_done(self._stream, self._stream.flush)

    def close(self) -> None:
        self._stream.close()
