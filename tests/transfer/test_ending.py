"""Short bodies from a real aiohttp server to clients that read slowly, send more, or never close."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from registryd.transfer.ending import end_short
from registryd.transfer.sink import open_sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
# More than a small receive buffer holds: the rest is on its way when the body ends.
SENT = b"x" * 1_000_000


class Connection:
    """A client that reads when it is told to, into a buffer that holds little."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def read_to_end(self) -> bytes:
        """The body of the response and whatever follows, up to the end; a reset raises."""
        data = bytearray()
        while chunk := await self._loop.sock_recv(self._sock, 65536):
            data += chunk
        return bytes(data).partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        self._sock.close()


class ShortServer:
    """Sends a part of what the head says. `sent` is set then; `ended` when the ending has returned."""

    def __init__(self, *, drain_seconds: float) -> None:
        self.requests = 0
        self.sent = asyncio.Event()
        self.end_now = asyncio.Event()
        self.ended = asyncio.Event()
        self._drain_seconds = drain_seconds

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        response = web.StreamResponse(headers={"Content-Length": str(2 * len(SENT))})
        await response.prepare(request)
        async with open_sink(request.transport, response.write) as sink:
            await sink.write(SENT)
        response.force_close()
        self.sent.set()
        await self.end_now.wait()
        await end_short(request.transport, drain_seconds=self._drain_seconds)
        self.ended.set()
        return response


@asynccontextmanager
async def short_server(*, drain_seconds: float = 5.0) -> AsyncIterator[tuple[ShortServer, Connection]]:
    server = ShortServer(drain_seconds=drain_seconds)
    app = web.Application()
    app.router.add_get("/", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.socket() as sock:
        sock.setblocking(False)  # noqa: FBT003 - its only parameter
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        await asyncio.get_running_loop().sock_connect(sock, runner.addresses[0])
        connection = Connection(sock)
        await connection.send(REQUEST)
        await server.sent.wait()
        yield server, connection
    await runner.cleanup()
    await asyncio.sleep(0)


async def test_the_receiver_gets_every_byte_and_then_the_end() -> None:
    async with short_server() as (server, client):
        server.end_now.set()
        assert await client.read_to_end() == SENT
        assert not server.ended.is_set()
        client.close()
        await server.ended.wait()


@pytest.mark.parametrize("requests", [1, 20_000], ids=["one", "more than the server reads"])
async def test_also_when_it_had_sent_more_requests(requests: int) -> None:
    async with short_server() as (server, client):
        sending = asyncio.create_task(client.send(REQUEST * requests))
        await asyncio.sleep(0.05)  # until the server has stopped reading, and the kernel's buffer is filling
        server.end_now.set()
        assert await client.read_to_end() == SENT
        await sending
        client.close()
        await server.ended.wait()
        assert server.requests == 1


async def test_also_when_it_sends_more_after_the_end() -> None:
    async with short_server() as (server, client):
        server.end_now.set()
        await asyncio.sleep(0.05)  # until FIN is out
        await client.send(REQUEST)
        await asyncio.sleep(0.05)  # until a RST would have been back
        assert await client.read_to_end() == SENT
        assert server.requests == 1


async def test_a_receiver_that_never_closes_is_left() -> None:
    async with short_server(drain_seconds=0.05) as (server, client):
        server.end_now.set()
        await server.ended.wait()
        assert await client.read_to_end() == SENT


async def test_a_receiver_that_resets_is_gone() -> None:
    async with short_server() as (server, client):
        server.end_now.set()
        client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        await asyncio.sleep(0.05)
    assert not server.ended.is_set()  # aiohttp cancelled the handler


async def test_a_connection_that_is_gone_needs_no_ending() -> None:
    await end_short(None)
