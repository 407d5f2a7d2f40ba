"""The client from which a request comes, as far as answers depend on the client, and the answer "ask again later".

containerd has a few places for downloads (`max_concurrent_downloads`, 3), and since 2.1 each is taken for one request
at one host: a request that waits at the agent's door keeps one place, and content that containerd wants to fetch from
the origin waits for a place in a queue. A response that ends before its first byte gives the place back: containerd
asks again, at the end of the queue. Before 2.1 a layer keeps its place, however its requests end.

With parallel layer fetch (`concurrent_layer_fetch_buffer`, off unless configured) every request says `bytes=0-`. After
a break containerd fetches the rest in chunks, and an end or a 404 of any of these chunks may fail the pull.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# containerd's own; vendors add to it ("containerd/v2.1.5-k3s1").
_CONTAINERD: Final = re.compile(r"containerd/v?(\d{1,4})\.(\d{1,4})\.", re.ASCII)
_LINES_UP_SINCE: Final = (2, 1)
# How long after a sign of parallel fetch a request without one may be a part of it: a large layer in chunks.
_PARALLEL_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Asker:
    """`lines_up`: a request that is ended before its first byte comes again, behind all that wait for a place.

    `waits`: it waits for an answer as long as it takes, or at least when it has been sent a response head, and stores
    what it gets: it is a containerd.
    `is_patient`: a pull may stand still for minutes (`image_pull_progress_timeout`: 1 minute in 1.7, 5 since 2.0).
    """

    lines_up: bool = False
    waits: bool = False
    is_patient: bool = False


class Askers:
    """Tells the clients of a node apart."""

    def __init__(self) -> None:
        self._parallel_until = 0.0

    def of(self, user_agent: str | None, *, asks_for_all: bool = False) -> Asker:
        """The client with this user agent; an unknown client has no queue for places.

        `asks_for_all`: the request says `bytes=0-`. A containerd that fetches in parallel must not go to the end of the
        queue.
        """
        match = _CONTAINERD.match(user_agent or "")
        if match is None:
            return Asker()
        now = asyncio.get_running_loop().time()
        if asks_for_all:
            self._parallel_until = now + _PARALLEL_SECONDS
        is_new = (int(match[1]), int(match[2])) >= _LINES_UP_SINCE
        return Asker(lines_up=is_new and now >= self._parallel_until, waits=True, is_patient=is_new)


class AskAgain(Exception):
    """The request is to be ended before its first byte, because its place is needed for another one."""

    def __init__(self, size: int) -> None:
        """`size`: of the content, in bytes."""
        super().__init__("its place is needed for something else")
        self.size = size


_current: Final[ContextVar[Asker | None]] = ContextVar("asker", default=None)


@contextmanager
def asked_by(asker: Asker) -> Iterator[None]:
    """Every lookup in this block is for that client."""
    token = _current.set(asker)
    try:
        yield
    finally:
        _current.reset(token)


def current_asker() -> Asker | None:
    """The client that waits for an answer; None when no client does."""
    return _current.get()
