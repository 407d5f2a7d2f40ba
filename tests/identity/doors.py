"""Listeners that count who got through to their handlers, over asyncio's TLS and over gRPC."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from registryd.identity.credentials import ServerCredentials

ANSWER = b"welcome"


class Door:
    """Where it listens and how many requests its handler has seen."""

    port: int
    seen: int = 0


@asynccontextmanager
async def tls_door(credentials: ServerCredentials) -> AsyncIterator[Door]:
    door = Door()

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.seen += 1
        writer.write(ANSWER)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=credentials.listener_context())
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        await server.wait_closed()


async def read_tls(port: int, context: ssl.SSLContext | None, **options: Any) -> bytes:
    """What the door says; nothing when it says nothing. Raises what the handshake raises on our side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, **options)
    try:
        return await reader.read()
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def grpc_door(credentials: ServerCredentials) -> AsyncIterator[Door]:
    door = Door()

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
            async def handle(request: bytes, _context: Any) -> bytes:
                door.seen += 1
                return request

            return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    door.port = credentials.add_grpc_port(server, "127.0.0.1:0")
    await server.start()
    try:
        yield door
    finally:
        await server.stop(grace=None)


async def call(channel: grpc.aio.Channel) -> bytes:
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/t/t")
    return await ask(ANSWER, timeout=10)
