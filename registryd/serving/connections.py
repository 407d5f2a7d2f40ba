"""The limits of one connection: its place, the time for a request's head, and how often it may ask."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import termios
import time
from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from registryd.aio.pace import Pace
from registryd.serving.newcomers import NewConnections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits for every connection of a door.

    `at_once`: connections. For one more, the door closes a connection that never asked for anything or is idle, or else
    the new one.
    A connection costs some 15 KB, and descriptors are scarce: 1,024 by default on many systems. containerd keeps a
    handful, and a peer one for each layer that it fetches. Half of them may have asked for nothing yet, a quarter if
    they come from one address.
    `of_address`: the same for one address, where other addresses come as well; None: no limit of its own.
    `head_seconds`: to the last byte of a request's head, from when the connection was accepted or, after an answer,
    from the head's first byte. Heads arrive in one packet. A handshake has as long.
    `requests_per_second`: more are answered, but not sooner. A pull makes some tens of requests in all.
    `handshakes_per_second`: of one address, with TLS: more handshakes wait for their turn. One takes 1.5 ms of the
    processor. A hundred may come at once: a peer opens a few for each layer.
    `idle_at_once`: connections that were answered and may ask again. Of more, the door closes the one that has been
    silent for longest, and it does so for a new connection when all places are taken.
    `idle_seconds`: longer than Go's HTTP client keeps an idle connection (90 s), so that the client closes it.
    """

    at_once: int = 512
    of_address: int | None = None
    head_seconds: float = 10.0
    requests_per_second: int = 1000
    handshakes_per_second: int = 50
    idle_at_once: int = 512
    idle_seconds: float = 120.0

    def within(self, most: int) -> Self:
        """The same, with no more connections than so many."""
        return replace(self, at_once=min(self.at_once, most), idle_at_once=min(self.idle_at_once, most))

    def pace_of_handshakes(self) -> Pace[str]:
        """For each address; who would have to wait for longer than for a head is turned away."""
        rate = self.handshakes_per_second
        return Pace(rate=rate, burst=2 * rate, longest=self.head_seconds / 2, clock=time.monotonic)

    def newcomers(self) -> NewConnections:
        """Keeps those that have asked for nothing within bounds."""
        return NewConnections(most=max(1, self.at_once // 2), most_of_address=max(1, self.at_once // 4))


class LimitedServer(web.Server):
    """An aiohttp server whose connections are held to the limits."""

    def __init__(self, handler: Handler, *, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(handler, keepalive_timeout=limits.idle_seconds, **options)
        self.limits = limits
        self.newcomers = limits.newcomers()
        self.of_address: Counter[str] = Counter()
        self._idle: dict[web.RequestHandler, None] = {}
        """In the order in which they were answered."""

    def becomes_idle(self, connection: web.RequestHandler) -> None:
        """Note that the connection was answered, and may ask again."""
        self._idle[connection] = None
        if len(self._idle) > self.limits.idle_at_once:
            self.close_idle()

    def is_idle_no_more(self, connection: web.RequestHandler) -> None:
        """Note that the connection asks again, or is gone."""
        self._idle.pop(connection, None)

    def close_idle(self) -> bool:
        """Close the one that has been idle for longest; whether there was one. Whoever wants to ask connects again."""
        if not self._idle:
            return False
        longest = next(iter(self._idle))
        self.is_idle_no_more(longest)
        longest.force_close()
        return True

    def has_room_for(self, address: str) -> bool:
        """Whether that address has less connections than one may have."""
        return self.limits.of_address is None or self.of_address[address] < self.limits.of_address

    def make_room(self) -> bool:
        """Close a connection that no client misses; returns whether there was one."""
        return self.newcomers.make_room() or self.close_idle()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """One connection; `answering` and `answered` are called around each of its requests."""

    __slots__ = ("_earliest", "_head_timer", "_is_answering", "_limits", "_reads_no_more", "_server", "address")

    def __init__(self, server: LimitedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._limits = server.limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_answering = False
        self._reads_no_more = False
        self._earliest = 0.0
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self._server.of_address[self.address] += 1
        if len(self._server.connections) > self._limits.at_once and not self._server.make_room():
            _log.warning("a connection is refused: %d are open", self._limits.at_once)
            self.force_close()
            return
        self._await_head()
        self._server.newcomers.arrive(self)

    def is_silent(self) -> bool:
        """Whether nothing has come that is still to be read."""
        sock = self.transport.get_extra_info("socket") if self.transport else None
        return sock is None or not unread_bytes(sock.fileno())

    def give_up(self) -> None:
        """End it before it has asked."""
        self.force_close()

    def data_received(self, data: bytes) -> None:
        self._server.is_idle_no_more(self)
        if self._head_timer is None and not self._is_answering:
            self._await_head()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._server.newcomers.leave(self)
        self._server.is_idle_no_more(self)
        self._server.of_address -= Counter((self.address,))
        super().connection_lost(exc)

    async def answering(self) -> None:
        """A request's head is here; returns when the connection may have its answer."""
        self._stop_timer()
        self._server.newcomers.leave(self)
        self._server.is_idle_no_more(self)  # it may have asked before the last answer was given
        self._is_answering = True
        now = self._loop.time()
        # A second's worth may come at once; a client that asks for more gets it at the pace of the limit.
        self._earliest = max(self._earliest, now - 1) + 1 / self._limits.requests_per_second
        if self._earliest > now:
            await asyncio.sleep(self._earliest - now)

    def answered(self) -> None:
        """The answer has been given."""
        self._is_answering = False
        if self.transport is not None and not self.transport.is_closing():
            self._server.becomes_idle(self)

    def read_no_more(self) -> None:
        """What still comes stays in the kernel, and the connection is closed after the answer."""
        self._reads_no_more = True
        if self.transport is not None:
            self.transport.pause_reading()
        self.close()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - as aiohttp has it
        """As aiohttp does to throw the rest of a body away, unless that is to stay unread."""
        if not self._reads_no_more:
            super().resume_reading(resume_parser)

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.head_seconds, self.force_close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def unread_bytes(descriptor: int) -> int:
    """The number of received and unread bytes of a socket; 0 if it is closed."""
    count = array("i", [0])
    with suppress(OSError, ValueError):
        fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


async def begin_answer(request: web.BaseRequest) -> None:
    """Hold a request of a `LimitedServer` to the limits of its connection."""
    if isinstance(request.protocol, _Connection):
        await request.protocol.answering()


def leave_body_unread(request: web.BaseRequest) -> None:
    """Read no more of this connection, if its request has a body that nobody wants; it ends with the answer."""
    if request.body_exists and isinstance(request.protocol, _Connection):
        request.protocol.read_no_more()


def has_begun(request: web.BaseRequest) -> bool:
    """Whether something of an answer has been sent, so that there cannot be another one."""
    return request.writer.output_size > 0


def end_answer(request: web.BaseRequest) -> None:
    """Note that the answer is over."""
    if isinstance(request.protocol, _Connection):
        request.protocol.answered()
