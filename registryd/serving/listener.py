"""Opening a door: a listening socket, a handler behind it, and a clean end for both."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registryd.aio.unexpected import note_unexpected
from registryd.notation import Address
from registryd.serving.connections import (
    ConnectionLimits,
    LimitedServer,
    begin_answer,
    end_answer,
    has_begun,
    leave_body_unread,
)
from registryd.serving.encrypting import TlsWelcome
from registryd.serving.within_machine import send_unpaced

if TYPE_CHECKING:
    import ssl as tls
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# containerd waits 30 s for every request when an accept queue is full (its dial timeout); the kernel caps this
# at net.core.somaxconn.
_BACKLOG: Final = 4096
# Accepted before the loop looks at anything else: in the meantime they cannot be held to the door's limits.
_ACCEPTED_AT_ONCE: Final = 32
# Request heads of containerd have a few hundred bytes, and up to some kilobytes with a bearer token.
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 64
# After an answer to a request whose body was not read: of a connection that is closed at once, the client could be told
# by a reset before it has read the answer.
_LINGER_SECONDS: Final = 1.0
# The time of a handler between being told to stop and being cancelled; draining comes before and has its own time.
_CUT_OFF_SECONDS: Final = 0.1


_log = logging.getLogger(__name__)


class _BadRequestsAreNoBugs(logging.Filter):
    """Removes the traceback from log lines on requests that are not HTTP: the client got a 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args, record.exc_info = f"not HTTP: {error.message}", (), None
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return record.levelno >= _log.getEffectiveLevel()


_log.addFilter(_BadRequestsAreNoBugs())


class ListenFailed(Exception):
    """The address cannot be listened on; the message says which and why."""


class Door:
    """An open door: its address, with the port that it got, and the requests that run behind it."""

    def __init__(self, handle: Handler, address: Address, bodies_at: frozenset[str]) -> None:
        self.address = address
        self._handle = handle
        self._bodies_at = bodies_at
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._listener: asyncio.Server | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, counted until it is over."""
        self._running += 1
        self._is_idle.clear()
        try:
            await begin_answer(request)
            if request.path not in self._bodies_at:
                leave_body_unread(request)
            return await self._handle(request)
        except ConnectionError:
            raise  # the client is gone
        except Exception as error:  # noqa: BLE001 - a mistake of ours, said once and without a traceback
            note_unexpected("answering a request", error)
            return _failed(request)
        finally:
            end_answer(request)
            self._running -= 1
            if not self._running:
                self._is_idle.set()

    async def listen(self, welcome: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections, each for a protocol that `welcome` makes. Raises ListenFailed."""
        loop, (host, port) = asyncio.get_running_loop(), (self.address.host, self.address.port)
        with self._listening():
            self._listener = await loop.create_server(welcome, host, port, backlog=_ACCEPTED_AT_ONCE)
            _lengthen_queues(self._listener)
        if self.address.is_loopback:
            send_unpaced(self._listener.sockets)
        self.address = Address(host, self._listener.sockets[0].getsockname()[1])

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ListenFailed(f"cannot listen on {self.address}: {os.strerror(error.errno or 0)}") from error

    def stop_listening(self) -> None:
        """Accept nothing new; idempotent."""
        if self._listener:
            self._listener.close()

    async def drain(self, seconds: float) -> None:
        """Accept nothing new, and wait for the requests that run, at most so long."""
        self.stop_listening()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_idle.wait()


def _lengthen_queues(listener: asyncio.Server) -> None:
    """Let many wait: asyncio accepts as many at a time as may wait, and here these are few."""
    for sock in listener.sockets:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.listen(_BACKLOG)


def _failed(request: web.BaseRequest) -> web.Response:
    if has_begun(request):
        raise ConnectionAbortedError("it failed in the middle of its answer")  # by which aiohttp ends the connection
    response = web.Response(status=500, text="this failed; the log of registryd says where\n")
    response.force_close()
    return response


@asynccontextmanager
async def open_door(
    handle: Handler,
    address: Address,
    *,
    ssl: tls.SSLContext | None = None,
    limits: ConnectionLimits | None = None,
    bodies_at: frozenset[str] = frozenset(),
) -> AsyncIterator[Door]:
    """Serve HTTP on the address while the context lasts; leaving it cuts off what still runs. Raises ListenFailed.

    Bodies of requests are read at the paths `bodies_at` only.
    """
    door = Door(handle, address, bodies_at)
    server = LimitedServer(
        door.handle,
        limits=limits or ConnectionLimits(),
        # Without it a handler goes on sending when containerd has cancelled a request.
        handler_cancellation=True,
        access_log=None,
        logger=_log,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADERS,
        auto_decompress=False,
        lingering_time=_LINGER_SECONDS,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_CUT_OFF_SECONDS)
    await runner.setup()
    async with AsyncExitStack() as ending:
        if ssl is None:
            ending.push_async_callback(runner.cleanup)
            await door.listen(server)
        else:
            welcome = TlsWelcome(server, ssl)
            ending.callback(welcome.abort_connections)
            ending.push_async_callback(runner.cleanup)
            ending.push_async_callback(welcome.give_up_handshakes)
            await door.listen(welcome)
        ending.callback(door.stop_listening)
        yield door
