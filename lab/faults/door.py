"""The bytes door of a faulty peer: HTTP/1.1 by hand, because no server would let itself be driven to this."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from lab.faults.manners import Reset
from registryd.content.source import ContentNotFound
from registryd.oci.digest import Digest
from registryd.oci.errors import OciError
from registryd.oci.ranges import Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lab.faults.characters import Character
    from lab.faults.content import CharacterStore, Layouts
    from registryd.notation import Address

_GET: Final = re.compile(rb"GET /v1/blobs/(?P<digest>\S+) HTTP/1\.1\r\n")
_RANGE: Final = re.compile(rb"\r\nRange: bytes=(?P<start>\d+)-(?P<last>\d+)\r\n", re.IGNORECASE)
_LINGER_ZERO: Final = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds; closing sends RST


class FaultyDoor:
    """Answers one request a connection, in the way of the character."""

    def __init__(self, character: Character, store: CharacterStore, layouts: Layouts) -> None:
        self._character = character
        self._store = store
        self._layouts = layouts

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await self._answer(request, writer)
        except Reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        wanted = _GET.match(request)
        try:
            data = self._layouts.read(Digest.parse(wanted["digest"].decode() if wanted else ""))
        except (OciError, ContentNotFound):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        manner = self._store.manner(data)
        if self._character.status:
            writer.write(b"HTTP/1.1 %d Fault\r\nContent-Length: 0\r\n\r\n" % self._character.status)
            return
        span = _span(request, self._store.told_size(data))
        given = self._store.padded(data)[span.start : span.stop]
        async with aclosing(manner(given)) as chunks:
            head = self._head(span, self._store.told_size(data))
            async for chunk in chunks:
                writer.write(head + chunk)
                head = b""
                await writer.drain()

    def _head(self, span: Span, size: int) -> bytes:
        length = span.length + self._character.length_lie
        return (
            f"HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n"
            f"Content-Range: {span.content_range(size)}\r\n\r\n"
        ).encode()


@asynccontextmanager
async def listening(answer: FaultyDoor | None, address: Address) -> AsyncIterator[None]:
    """A port with the door behind it; None: connections are accepted, and nothing is ever said."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(ConnectionError):
            await (answer.answer(reader, writer) if answer else _ignore(reader))

    server = await asyncio.start_server(serve, address.host, address.port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def _ignore(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def _span(request: bytes, size: int) -> Span:
    asked = _RANGE.search(request)
    return Span(int(asked["start"]), int(asked["last"]) + 1) if asked else Span.whole(size)
