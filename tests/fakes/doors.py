"""Bytes doors of peers with a character: what answers `GET /v1/blobs/<digest>` in a test."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from registryd.oci.ranges import RangeRequest, Span
from tests.fakes.peers import reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from registryd.oci.digest import Digest


_STEP = 64 * 1024


class Door:
    """Serves `contents` over HTTP/1.1. `requests` keeps the spans that were asked for, `connections` counts.

    `stops_after`: so many bytes of each body are sent, then the connection ends, with RST if `resets`; `status`
    refuses everything; `is_silent` never answers. Each MiB takes so many `seconds`.
    """

    def __init__(  # noqa: PLR0913 - its character, all named
        self,
        contents: Mapping[Digest, bytes],
        *,
        stops_after: int | None = None,
        resets: bool = False,
        status: int | None = None,
        is_silent: bool = False,
        seconds: float = 0.0,
    ) -> None:
        self.requests: list[Span] = []
        self.parts: list[str] = []
        self.connections = 0
        self._contents = {str(digest): data for digest, data in contents.items()}
        self.stops_after = stops_after
        self._resets = resets
        self._status = status
        self._is_silent = is_silent
        self._seconds = seconds

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Listen on loopback; yields the port."""
        writers: list[asyncio.StreamWriter] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            self.connections += 1
            try:
                await self._handle(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)  # handlers notice the end of their connections

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if self._is_silent:
            await reader.read()
        data = self._contents[re.match(r"GET /v1/blobs/(\S+) ", head)[1]]  # type: ignore[index]
        found = re.search(r"(?mi)^range: (\S+)", head)
        asked = RangeRequest.parse(found[1] if found else None)
        span = asked.span(len(data)) if asked else Span.whole(len(data))
        self.requests.append(span)
        part = re.search(r"(?mi)^registryd-part: (\S+)", head)
        self.parts.append(part[1] if part else "")
        if self._status:
            writer.write(f"HTTP/1.1 {self._status} No\r\nContent-Length: 0\r\n\r\n".encode())
            return
        status = f"206 Partial\r\nContent-Range: {span.content_range(len(data))}" if asked else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {span.length}\r\n\r\n".encode())
        await self._send(writer, data[span.start : span.stop])

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.stops_after is None or self.stops_after >= len(data):
            for start in range(0, len(data), _STEP):
                await asyncio.sleep(self._seconds * _STEP / (1 << 20))
                writer.write(data[start : start + _STEP])
                await writer.drain()
            return
        writer.write(data[: self.stops_after])
        await writer.drain()
        await asyncio.sleep(0.05)  # what was sent has arrived before the end
        if self._resets:
            reset(writer)
