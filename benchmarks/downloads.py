"""A client that throws away what it downloads, so that it is not what the benchmark measures.

It reads with MSG_TRUNC, which makes Linux drop TCP data without copying it to anybody: no C, and fast enough for
14 GB/s. So these are figures of the server, not of a client that keeps what it gets (curl: 3 to 4 GB/s).
"""

from __future__ import annotations

import http.client
import mmap
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Never touched, so never backed by memory; only its length counts, as what one call may drop.
_NOWHERE: Final = memoryview(mmap.mmap(-1, 64 * 1024 * 1024))
_PROBE_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Url:
    """Where to download from, on loopback."""

    port: int
    path: str
    host: str = "127.0.0.1"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def beside(self, name: str) -> Url:
        """Another of the same folder."""
        return replace(self, path=f"{self.path.rpartition('/')[0]}/{name}")

    @property
    def text(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"


def download(url: Url, *, size: int) -> None:
    """GET, and discard exactly `size` bytes of body."""
    with socket.create_connection(url.address, timeout=60) as sock:
        sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        discard(sock, size - read_head(sock), of=url)


def discard(sock: socket.socket, left: int, *, of: Url) -> None:
    """Take so many bytes and keep none."""
    while left:
        count = sock.recv_into(_NOWHERE, min(left, len(_NOWHERE)), socket.MSG_TRUNC)
        if count == 0:
            raise EOFError(f"{of}: {left} bytes early")
        left -= count


def read_head(sock: socket.socket, *, expected: int = 200) -> int:
    """Read up to the end of the response head; returns how many bytes of body came along."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += (chunk := sock.recv(4096))
        if not chunk:
            raise EOFError("no response head")
    if f" {expected} ".encode() not in head.partition(b"\r\n")[0]:
        raise EOFError(head[:200].decode("latin-1"))
    return len(head) - head.index(b"\r\n\r\n") - 4


def download_at_once(url: Url, *, size: int, count: int) -> None:
    """Several downloads of the same, at the same time."""
    with ThreadPoolExecutor(count) as threads:
        for result in [threads.submit(download, url, size=size) for _ in range(count)]:
            result.result()


@contextmanager
def probing(url: Url) -> Iterator[list[float]]:
    """Send a HEAD every 5 ms meanwhile; the list fills with the seconds that each took."""
    latencies: list[float] = []
    with ThreadPoolExecutor(1) as thread:
        running = [True]

        def probe() -> None:
            connection = http.client.HTTPConnection(*url.address, timeout=60)
            while running:
                begun = time.perf_counter()
                connection.request("HEAD", url.path)
                connection.getresponse().read()
                latencies.append(time.perf_counter() - begun)
                time.sleep(_PROBE_SECONDS)
            connection.close()

        prober = thread.submit(probe)
        try:
            yield latencies
        finally:
            running.clear()
            prober.result()
