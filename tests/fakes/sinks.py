"""Receivers: a sink that keeps what it is sent, and one that goes away."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registryd.transfer.errors import SinkClosed
from registryd.transfer.sink import ConnectionSink, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeSink(Sink):
    """Keeps what is written in `data`; without a descriptor, as over TLS. Goes away after `closes_after` bytes."""

    def __init__(self, *, closes_after: int | None = None) -> None:
        self.sent = 0
        self.data = bytearray()
        self.writes = 0
        self._closes_after = closes_after

    async def write(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(0)
        room = len(data) if self._closes_after is None else self._closes_after - self.sent
        self.data += data[:room]
        self.writes += 1
        self.sent = len(self.data)
        if room < len(data):
            raise SinkClosed("the fake receiver is gone")


class StuckSink(FakeSink):
    """Takes nothing and says nothing: a receiver whose window is closed. `reached` is set by the first write."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def write(self, data: bytes | memoryview) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class SocketSink(ConnectionSink):
    """A sink with a real descriptor: one end of a socket pair. `read_all` collects what came out of the other."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        super().__init__(near.fileno(), _no_write)
        self._near = near
        self._far = far

    def hang_up(self) -> None:
        """The receiver goes away."""
        self._far.close()

    async def read(self, count: int) -> bytes:
        """The next `count` bytes that the receiver gets."""
        loop = asyncio.get_running_loop()
        data = bytearray()
        while len(data) < count:
            data += (chunk := await loop.sock_recv(self._far, count - len(data)))
            if not chunk:
                break
        return bytes(data)

    async def read_all(self) -> bytes:
        """What the receiver gets, once everything has been sent and the connection ends."""
        self._near.shutdown(socket.SHUT_WR)
        return await self.read(1 << 40)


@contextmanager
def socket_sink() -> Iterator[SocketSink]:
    """A SocketSink; the socket pair's buffer holds about 200 KiB, so read concurrently what is larger."""
    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.settimeout(0)
        yield SocketSink(near, far)


async def _no_write(data: bytes | memoryview) -> None:
    raise AssertionError("a sink with a descriptor is written to through it")
