"""A source that answers each request with exactly what its script says, over a real connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request, and the connection to answer it on. The connection is closed when its last request is answered."""

    head: bytes
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class Source:
    """Where the source listens, and the request heads that it got."""

    address: tuple[str, int]
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def scripted_source(script: Script, *, ssl: SSLContext | None = None, requests: int = 1) -> AsyncIterator[Source]:
    """Listen on loopback; so many requests of a connection are answered, in a task that ends with the source."""
    answers: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source.connections += 1
        try:
            for _ in range(requests):
                source.heads.append(head := await reader.readuntil(b"\r\n\r\n"))
                await script(Exchange(head, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.add(asyncio.create_task(answer(reader, writer), name="scripted answer"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=ssl)
    source = Source(server.sockets[0].getsockname())
    try:
        yield source
    finally:
        server.close()
        for task in answers:
            task.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        await asyncio.sleep(0)


def partial(data: bytes, *, start: int = 0, size: int | None = None, more: str = "") -> bytes:
    """The head of a 206 for these bytes; `more` are further header lines."""
    last = start + len(data) - 1
    return (
        f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(data)}\r\n"
        f"Content-Range: bytes {start}-{last}/{last + 1 if size is None else size}\r\n{more}\r\n"
    ).encode()
