"""What one connection may cost: its place, the time for a request's head, and how often it may ask."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """For every connection of a door.

    `at_once`: connections; more are closed as they come. A connection costs some 15 KB, and descriptors are scarce:
    1,024 by default on many systems. containerd keeps a handful, and a peer one for each layer that it fetches.
    `head_seconds`: from the first byte of a request's head to its last. They arrive in one packet.
    `requests_per_second`: more are answered, but not sooner. A pull makes some tens of requests in all.
    """

    at_once: int = 512
    head_seconds: float = 10.0
    requests_per_second: int = 1000


class LimitedServer(web.Server):
    """An aiohttp server whose connections are held to the limits."""

    def __init__(self, handler: Handler, *, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(handler, **options)
        self.limits = limits

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """One connection; `answering` and `answered` are called around each of its requests."""

    __slots__ = ("_earliest", "_head_timer", "_is_answering", "_limits")

    def __init__(self, server: LimitedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._limits = server.limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_answering = False
        self._earliest = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > self._limits.at_once:
            _log.warning("a connection is refused: %d are open", self._limits.at_once)
            self.force_close()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and not self._is_answering:
            self._head_timer = self._loop.call_later(self._limits.head_seconds, self.force_close)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    async def answering(self) -> None:
        """A request's head is here; returns when the connection may have its answer."""
        self._stop_timer()
        self._is_answering = True
        now = self._loop.time()
        # A second's worth may come at once; who asks for more gets it at the pace of the limit.
        self._earliest = max(self._earliest, now - 1) + 1 / self._limits.requests_per_second
        if self._earliest > now:
            await asyncio.sleep(self._earliest - now)

    def answered(self) -> None:
        """The answer has been given."""
        self._is_answering = False

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def begin_answer(request: web.BaseRequest) -> None:
    """Hold a request of a `LimitedServer` to the limits of its connection."""
    if isinstance(request.protocol, _Connection):
        await request.protocol.answering()


def end_answer(request: web.BaseRequest) -> None:
    """It is over."""
    if isinstance(request.protocol, _Connection):
        request.protocol.answered()
