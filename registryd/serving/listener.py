"""Opening a door: a listening socket, a handler behind it, and a clean end for both."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registryd.notation import Address

if TYPE_CHECKING:
    import ssl as tls
    from collections.abc import AsyncIterator, Awaitable, Callable

# containerd waits 30 s for every request when an accept queue is full (its dial timeout); the kernel caps this
# at net.core.somaxconn.
_BACKLOG: Final = 4096
# Longer than Go's HTTP client keeps an idle connection (90 s), so that it is always the client who closes.
_KEEPALIVE_SECONDS: Final = 120.0
# Request heads of containerd have a few hundred bytes, and up to some kilobytes with a bearer token.
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 64


_log = logging.getLogger(__name__)


class _BadRequestsAreNoBugs(logging.Filter):
    """Takes the traceback off requests that are not HTTP: whoever sent them was answered with 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args, record.exc_info = f"not HTTP: {error.message}", (), None
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return record.levelno >= _log.getEffectiveLevel()


_log.addFilter(_BadRequestsAreNoBugs())


class ListenFailed(Exception):
    """The address cannot be listened on; the message says which and why."""


@asynccontextmanager
async def open_door(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    address: Address,
    *,
    drain_seconds: float,
    ssl: tls.SSLContext | None = None,
) -> AsyncIterator[Address]:
    """Serve HTTP on the address while the context lasts; yields the address with the port that it got.

    On leaving, no new connection is accepted and requests that run have `drain_seconds` to end. Raises ListenFailed.
    """
    server = web.Server(
        handle,
        # Without it a handler goes on sending to nobody when containerd cancels a request.
        handler_cancellation=True,
        access_log=None,
        logger=_log,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADERS,
    )
    runner = web.ServerRunner(server, shutdown_timeout=drain_seconds)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG, ssl_context=ssl)
        try:
            await site.start()
        except OSError as error:
            raise ListenFailed(f"cannot listen on {address}: {error.strerror or error}") from error
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()
