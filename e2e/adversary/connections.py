"""What a member can do with connections: each attack goes on until it is cancelled, and ends what it opened."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from e2e.adversary.calls import CLUSTER
from e2e.adversary.wire import call_frames, connect, http2_context, preface, shake_hands
from registryd.pb.registryd.v1 import cluster_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.adversary.wire import Target

_AGAIN_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 1.0
_FLOODERS: Final = 8
_DEAF: Final = 200
_SILENT: Final = 600
_RECEIVE_BYTES: Final = 4096


async def _many(count: int, hold: Callable[[], Awaitable[Any]]) -> None:
    """So many at once; each that ends begins again."""

    async def go_on() -> None:
        while True:
            with suppress(OSError, EOFError):
                await hold()
            await asyncio.sleep(_AGAIN_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(go_on())


async def _until_ended(reader: asyncio.StreamReader) -> None:
    """Return when the agent has ended the connection; what it sends is not read."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - who does not read hears of no event
        await asyncio.sleep(_LOOK_SECONDS)


async def _shake(target: Target, port: int, context: Any) -> None:
    _, writer = await shake_hands(await connect(target, port), context)
    writer.transport.abort()


async def peers_handshakes(target: Target) -> None:
    """Handshakes at gRPC's port, nothing after them."""
    context = http2_context(target.credentials())
    await _flood_handshakes(target, target.peers_port, context)


async def content_handshakes(target: Target) -> None:
    """Handshakes at the port for bytes, nothing after them."""
    await _flood_handshakes(target, target.content_port, target.credentials().client_context())


async def _flood_handshakes(target: Target, port: int, context: Any) -> None:
    async def go_on() -> None:
        while True:
            with suppress(OSError, EOFError):
                await _shake(target, port, context)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(_FLOODERS):
            group.create_task(go_on())


async def deaf_downloads(target: Target) -> None:
    """Bodies at the port for bytes that nobody reads."""
    context = target.credentials().client_context()
    head = f"GET /v1/blobs/{target.digest} HTTP/1.1\r\nHost: peer\r\nRegistryd-Repository: {target.repository}\r\n\r\n"

    async def hold() -> None:
        reader, writer = await shake_hands(await connect(target, target.content_port, deaf=True), context)
        try:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(head.encode())
            await _until_ended(reader)
        finally:
            writer.transport.abort()

    await _many(_DEAF, hold)


async def deaf_calls(target: Target) -> None:
    """Calls, far more than one may have, on connections that are not read."""
    await _deaf(target, f"{CLUSTER}Hello", b"")


async def deaf_reads(target: Target) -> None:
    """Reads of 1 MiB on connections that are not read."""
    request = pb.ReadRequest(digest=str(target.digest), length=1 << 20, repository=target.repository)
    await _deaf(target, f"{CLUSTER}Read", request.SerializeToString())


async def _deaf(target: Target, method: str, message: bytes) -> None:
    context = http2_context(target.credentials())

    async def hold() -> None:
        reader, writer = await shake_hands(await connect(target, target.peers_port, deaf=True), context)
        try:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(preface())
            for stream in itertools.count(1, 2):
                writer.write(call_frames(stream, method, message))
                await writer.drain()
                if reader.at_eof():
                    break
        finally:
            writer.transport.abort()

    await _many(_DEAF, hold)


async def half_calls(target: Target) -> None:
    """Calls whose message never comes."""
    context = http2_context(target.credentials())

    async def hold() -> None:
        reader, writer = await shake_hands(await connect(target, target.peers_port), context)
        try:
            writer.write(preface())
            for stream in range(1, 200, 2):
                writer.write(call_frames(stream, f"{CLUSTER}Hello", b"", is_whole=False))
            while await reader.read(_RECEIVE_BYTES):
                pass
        finally:
            writer.transport.abort()

    await _many(_DEAF, hold)


async def half_requests(target: Target) -> None:
    """Heads, frames and handshakes that are begun and never ended, and connections that say nothing at all."""
    credentials = target.credentials()
    http2, http1 = http2_context(credentials), credentials.client_context()
    kinds = itertools.cycle(
        (
            (target.peers_port, None, b""),
            (target.content_port, None, b""),
            (target.peers_port, None, b"\x16\x03\x01\x02\x00\x01"),
            (target.content_port, None, b"\x16\x03\x01\x02\x00\x01"),
            (target.peers_port, http2, preface()[:20]),
            (target.peers_port, http2, preface() + call_frames(1, f"{CLUSTER}Hello", b"")[:30]),
            (target.content_port, http1, b"GET /v1/blobs/sha256:"),
        )
    )

    async def hold() -> None:
        port, context, said = next(kinds)
        sock = await connect(target, port)
        reader, writer = await (shake_hands(sock, context) if context else asyncio.open_connection(sock=sock))
        try:
            writer.write(said)
            while await reader.read(_RECEIVE_BYTES):
                pass
        finally:
            writer.transport.abort()

    await _many(_SILENT, hold)
