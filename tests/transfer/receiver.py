"""A receiver at the other end of a real TCP connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registryd.transfer.sink import ConnectionSink

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER_BYTES = 256 * 1024


class Receiver:
    """What goes into `sink` comes out of `read`."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self._far = far
        self.sink = ConnectionSink(near.fileno(), _no_write)

    async def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer at the end."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        while len(data) < count and (chunk := await loop.sock_recv(self._far, min(count - len(data), 1 << 20))):
            data += chunk
        return bytes(data)

    async def read_rest(self) -> bytes:
        """Everything that is on its way, once the sender has finished."""
        self.end()
        return await self.read(1 << 30)

    def end(self) -> None:
        """The sender has finished."""
        self._near.shutdown(socket.SHUT_WR)

    def let_sender_block(self, *, blocking: bool) -> None:
        """Calls of the sender sleep in the kernel until there is room, as they do on a slow disk."""
        self._near.setblocking(blocking)

    def hang_up(self) -> None:
        self._far.close()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Buffers of the connection are small, so that senders meet a full one early."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        near.settimeout(0)
        far.settimeout(0)
        yield Receiver(near, far)


async def _no_write(data: bytes | memoryview) -> None:
    raise AssertionError("a sink with a descriptor is written to through it")
