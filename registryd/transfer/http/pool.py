"""Connections to sources that stay open between two bodies: the next one needs no handshake."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ssl import SSLContext

    from registryd.transfer.http.connection import SourceConnection


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many idle connections the pool keeps, and for how long.

    `at_a_source`: containerd fetches three layers at a time. `at_once`: a TLS connection costs some 145 KB here, and at
    the source some 115 KB. `idle_seconds`: the layers of a pull follow each other in less, and a source waits for
    longer (serving.peer_bytes). `age_seconds`: after this time a new handshake checks the certificates again, and makes
    new keys before the old ones have encrypted too much.
    """

    at_a_source: int = 4
    at_once: int = 64
    idle_seconds: float = 30.0
    age_seconds: float = 300.0


class ConnectionPool:
    """Idle connections, each used by one body at a time.

    The pool closes an idle connection at once when bytes or the end arrive on it. `with` closes the remaining
    connections at the end. The pool also closes connections that are brought back later.
    """

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._timers: dict[SourceConnection, asyncio.TimerHandle] = {}
        """Until when each is kept; the one that has been idle for longest comes first."""
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        for wire in tuple(self._timers):
            self._drop(wire)

    def take(self, address: tuple[str, int], ssl: SSLContext | None) -> SourceConnection | None:
        """A connection to this address that was made with this context, the latest; it has to be brought back.

        Connections of other contexts are closed: the caller's certificates or authorities have changed.
        """
        if ssl is not None:
            for wire in [wire for wire in self._timers if wire.ssl not in {None, ssl}]:
                self._drop(wire)
        for wire in [wire for wire in reversed(self._timers) if (wire.address, wire.ssl) == (address, ssl)]:
            self._release(wire)
            if wire.is_quiet():
                return wire
            wire.close()
        return None

    def keep(self, wire: SourceConnection) -> None:
        """Bring back a connection whose response was read to its last byte; closes it if it is not to be kept."""
        loop, limits = asyncio.get_running_loop(), self._limits
        seconds = min(limits.idle_seconds, wire.made_at + limits.age_seconds - loop.time())
        if self._is_closed or seconds <= 0 or not wire.is_quiet():
            wire.close()
            return
        wire.rest()
        same = [other for other in self._timers if other.address == wire.address]
        if len(same) >= limits.at_a_source:
            self._drop(same[0])
        if len(self._timers) >= limits.at_once:
            self._drop(next(iter(self._timers)))
        self._timers[wire] = loop.call_later(seconds, self._drop, wire)
        loop.add_reader(wire.fileno(), self._drop, wire)

    def __len__(self) -> int:
        return len(self._timers)

    def _drop(self, wire: SourceConnection) -> None:
        self._release(wire)
        wire.close()

    def _release(self, wire: SourceConnection) -> None:
        self._timers.pop(wire).cancel()
        asyncio.get_running_loop().remove_reader(wire.fileno())
