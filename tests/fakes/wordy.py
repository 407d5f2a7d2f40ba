"""A registry of one manifest and its blobs that answers a HEAD with the body, too, which HTTP forbids.

aiohttp's server cannot: this one writes bytes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_OCTETS: Final = "application/octet-stream"


@dataclass
class WordyUpstream:
    """`contents`: by the last part of the path, media type and bytes.

    `late`: seconds from the head of a HEAD's answer to its body; None: they come in one segment.
    """

    contents: Mapping[str, tuple[str, bytes]]
    late: float | None = None
    seen: list[str] = field(default_factory=list)
    """The method of each request."""
    connections: int = 0
    port: int = 0
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer), name="wordy upstream")
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
                    self.seen.append(method)
                    await self._answer(writer, method, path.partition("?")[0].rpartition("/")[2])
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, reference: str) -> None:
        media_type, data = self.contents.get(reference, (_OCTETS, b""))
        status = "200 OK" if reference in self.contents else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        if method == "HEAD" and self.late is not None:
            writer.write(head)
            await writer.drain()
            await asyncio.sleep(self.late)
            writer.write(data)
        else:
            writer.write(head + data)


@asynccontextmanager
async def open_wordy(upstream: WordyUpstream) -> AsyncIterator[WordyUpstream]:
    """Run it until the end of the block."""
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in tuple(upstream.serving):
            task.cancel()
        await asyncio.gather(*upstream.serving, return_exceptions=True)
