"""How long an answer takes: from the request, on a new connection, to the first byte of what was asked for."""

from __future__ import annotations

import hashlib
import secrets
import socket
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.downloads import discard, read_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.agents import RunningAgent
    from benchmarks.downloads import Url

_WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Of many requests, one after the other, in milliseconds; and the processor time of who was asked, on average."""

    median: float
    p99: float
    worst: float
    processor: float

    @classmethod
    def of(cls, seconds: Sequence[float], processor: float) -> Latency:
        ordered = sorted(1000 * each for each in seconds)
        return cls(statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1], processor)

    def __str__(self) -> str:
        times = f"median {self.median:.1f}, p99 {self.p99:.1f}, worst {self.worst:.0f} ms"
        return f"{times}; its processor {self.processor:.1f} ms"


def of_hits(agent: RunningAgent, digest: str, *, size: int, count: int) -> Latency:
    """Of so many GETs of content that is there. The rest of it is taken too: what gives it up costs the next one."""
    return _repeated(agent, lambda: first_byte(agent.blob_url(digest), size=size), count)


def of_misses(agent: RunningAgent, *, count: int, warm_up: int = _WARM_UP) -> Latency:
    """Of so many GETs of content that nobody has, each of another one."""
    return _repeated(agent, lambda: first_byte(agent.blob_url(_nowhere())), count, warm_up=warm_up)


def _nowhere() -> str:
    return hashlib.sha256(secrets.token_bytes(16)).hexdigest()


def _repeated(agent: RunningAgent, ask: Callable[[], float], count: int, *, warm_up: int = _WARM_UP) -> Latency:
    for _ in range(warm_up):
        ask()
    processor = agent.server.cpu_seconds()
    seconds = [ask() for _ in range(count)]
    return Latency.of(seconds, (agent.server.cpu_seconds() - processor) / count * 1000)


def first_byte(url: Url, *, size: int | None = None) -> float:
    """Seconds from the request to the first byte of the answer's body: of `size` bytes, or of a 404."""
    with socket.create_connection(url.address, timeout=60) as sock:
        begun = time.perf_counter()
        sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        arrived = read_head(sock, expected=404 if size is None else 200)
        if not arrived:
            arrived = len(sock.recv(1))
        seconds = time.perf_counter() - begun
        if size is not None:
            discard(sock, size - arrived, of=url)
        return seconds
