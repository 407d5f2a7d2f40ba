"""The receiving end of a transfer: a connection whose response head has been written."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from registryd.transfer.errors import ReceiverIdle, SinkClosed
from registryd.transfer.readiness import wait_writable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# How long a look at the transport's own buffer waits between two looks while the response head leaves it.
# The transport has no event for "empty"; a head is a few hundred bytes and nearly always gone at once.
_FLUSH_POLL_SECONDS: Final = 0.001


class Sink(ABC):
    """Takes the bytes of a body, in order, and counts them.

    Every sink can be written to. A sink that allows a quicker way has a descriptor, or memory with room. Each sink
    inherits from this class: what it does not define, it does not allow or limit.
    """

    sent: int
    """Bytes handed over to the receiver's connection so far, whichever way."""

    @abstractmethod
    async def write(self, data: bytes | memoryview) -> None:
        """Send these bytes; returns when they need not be kept any longer. Raises SinkClosed."""

    # By the kernel

    @property
    def fd(self) -> int | None:
        """A non-blocking descriptor for sendfile and splice, or None when bytes must go through `write` (TLS).

        A caller that writes to the descriptor adds to `sent` what the kernel took, and waits for room with
        `wait_writable`. The caller also waits with `wait_allowed` before each step.
        """
        return None

    async def wait_writable(self) -> None:
        """Wait until the descriptor takes bytes again, or has an error to report."""
        raise ValueError("there is no descriptor to wait for")

    async def wait_allowed(self) -> None:  # noqa: B027 - most sinks have no limit
        """Return when the next bytes may be taken by the descriptor: at once, unless the sink has a limit."""

    # Into memory

    @property
    def room(self) -> memoryview | None:
        """The memory in which the next bytes can be received without a copy; None: they have to be written."""
        return None

    def filled(self, count: int) -> None:
        """Note that so many bytes have been put at the beginning of `room`."""
        raise ValueError(f"there is no room for {count} bytes")


class ConnectionSink(Sink):
    """A sink over an asyncio connection: the kernel's way when it is plain TCP, `write` otherwise."""

    def __init__(
        self, fd: int | None, write: Callable[[bytes | memoryview], Awaitable[object]], patience: float | None = None
    ) -> None:
        """`patience`: seconds in which a receiver may take nothing; None: as long as it likes."""
        self.sent = 0
        self._fd = fd
        self._write = write
        self._patience = patience

    @property
    def fd(self) -> int | None:
        return self._fd

    async def write(self, data: bytes | memoryview) -> None:
        if self._fd is None:
            await self._write_through(data)
        else:
            await self._write_fd(self._fd, memoryview(data))

    async def wait_writable(self) -> None:
        if self._fd is None:
            raise ValueError("this connection has no descriptor to wait for")
        if self._patience is None:
            await wait_writable(self._fd)
            return
        async with _patient(self._patience):
            await wait_writable(self._fd)

    async def _write_through(self, data: bytes | memoryview) -> None:
        # Counted before there is room for more: a body that is left meanwhile goes on behind these bytes.
        self.sent += len(data)
        try:
            async with _patient(self._patience):
                await self._write(data)
        except ConnectionError as error:
            raise SinkClosed("the receiver closed the connection") from error
        # A receiver that takes everything at once would never let another request of this loop run.
        await asyncio.sleep(0)

    async def _write_fd(self, fd: int, data: memoryview) -> None:
        while data:
            try:
                taken = os.write(fd, data)
            except BlockingIOError:
                await self.wait_writable()
                continue
            except OSError as error:
                raise SinkClosed(f"the receiver closed the connection: {error.strerror}") from error
            self.sent += taken
            data = data[taken:]


@asynccontextmanager
async def open_sink(
    transport: asyncio.Transport | None,
    write: Callable[[bytes | memoryview], Awaitable[object]],
    *,
    patience: float | None = None,
) -> AsyncIterator[ConnectionSink]:
    """A sink for the body of a response whose head was written through this transport.

    Waits until the head has left the transport's buffer, so that bytes which the kernel moves cannot overtake it.
    The descriptor is a duplicate: the event loop refuses to watch a transport's own. `write` is the HTTP server's
    way to send, used when there is no plain socket, and `patience` is ConnectionSink's. Raises SinkClosed when the
    connection is gone already.
    """
    if transport is None or transport.is_closing():
        raise SinkClosed("the receiver closed the connection")
    async with _patient(patience):
        await _flushed(transport)
    plain = transport.get_extra_info("socket") if transport.get_extra_info("sslcontext") is None else None
    if plain is None or plain.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}:
        yield ConnectionSink(None, write, patience)
        return
    fd = os.dup(plain.fileno())
    try:
        yield ConnectionSink(fd, write, patience)
    finally:
        os.close(fd)


async def _flushed(transport: asyncio.Transport) -> None:
    while transport.get_write_buffer_size():
        await asyncio.sleep(_FLUSH_POLL_SECONDS)
        if transport.is_closing():
            raise SinkClosed("the receiver closed the connection")


@asynccontextmanager
async def _patient(seconds: float | None) -> AsyncIterator[None]:
    """A bound for a wait for the receiver: raises ReceiverIdle when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ReceiverIdle(f"the receiver took nothing for {seconds or 0:g} s") from error
