"""Doors that speak TLS: who is let in, how long a handshake may take, and how connections end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web

from registryd.identity.tls import client_context
from registryd.notation import Address
from registryd.serving.connections import ConnectionLimits
from registryd.serving.listener import ListenFailed, open_door
from registryd.transfer.ending import end_short
from registryd.transfer.sink import open_sink
from tests.identity.parties import OLD, Node, intruders, minted
from tests.serving.conftest import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.serving.listener import Door

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
# More than the sockets of a connection hold.
LARGE = bytes(range(256)) * 64 * 1024


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.make(tmp_path, "server", OLD)


class Greeter:
    """Says hello, and counts to whom."""

    def __init__(self) -> None:
        self.seen = 0

    async def __call__(self, _: web.BaseRequest) -> web.StreamResponse:
        self.seen += 1
        return web.Response(text="hello")


@asynccontextmanager
async def connected(
    door: Door, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A member's connection, or that of who has another context."""
    context = context or client_context(minted(OLD))
    reader, writer = await asyncio.open_connection(door.address.host, door.address.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def greeted(door: Door, context: ssl.SSLContext | None = None) -> bool:
    """In TLS 1.3 a client thinks that it is through until it reads."""
    try:
        async with connected(door, context) as (reader, writer):
            writer.write(REQUEST)
            return (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    except (OSError, asyncio.IncompleteReadError):
        return False


# ---------------------------------------------------------------- who is let in


async def test_members_are_answered(node: Node) -> None:
    async with open_door(Greeter(), LOOPBACK, ssl=node.credentials.listener_context()) as door:
        assert await greeted(door)
        assert await greeted(door)


@pytest.mark.parametrize("kind", intruders())
async def test_intruders_never_reach_the_handler(node: Node, kind: str) -> None:
    greeter = Greeter()
    async with open_door(greeter, LOOPBACK, ssl=node.credentials.listener_context()) as door:
        assert not await greeted(door, client_context(intruders()[kind]))
        assert greeter.seen == 0


async def test_nor_does_anybody_without_a_certificate_or_with_older_tls(node: Node) -> None:
    nobody = ssl.create_default_context(cadata=minted(OLD).roots.decode())
    nobody.check_hostname = False
    older = client_context(minted(OLD))
    older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_2
    greeter = Greeter()
    async with open_door(greeter, LOOPBACK, ssl=node.credentials.listener_context()) as door:
        assert not await greeted(door, nobody)
        assert not await greeted(door, older)
        assert greeter.seen == 0


async def test_nor_does_plain_http(node: Node) -> None:
    greeter = Greeter()
    async with open_door(greeter, LOOPBACK, ssl=node.credentials.listener_context()) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        writer.write(REQUEST)
        assert b"hello" not in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert greeter.seen == 0


async def test_the_handler_sees_whose_certificate_it_is(node: Node) -> None:
    async def name(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        connection = request.transport.get_extra_info("ssl_object")
        assert node.credentials.still_accepts(connection)
        assert connection.getpeercert() == request.transport.get_extra_info("peercert")
        return web.Response(text=f"{request.scheme} {request.remote} {bool(connection.getpeercert())}hello")

    async with (
        open_door(name, LOOPBACK, ssl=node.credentials.listener_context()) as door,
        connected(door) as (reader, writer),
    ):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"hello")).endswith(b"https 127.0.0.1 Truehello")


async def test_a_taken_address_is_named(node: Node) -> None:
    context = node.credentials.listener_context()
    async with open_door(Greeter(), LOOPBACK, ssl=context) as door:
        with pytest.raises(ListenFailed, match=f"{door.address}.*in use"):
            async with open_door(Greeter(), door.address, ssl=context):
                pass


async def test_ipv6(node: Node) -> None:
    async with open_door(Greeter(), Address("::1", 0), ssl=node.credentials.listener_context()) as door:
        assert await greeted(door)


# ---------------------------------------------------------------- what a connection may cost


@pytest.mark.looptime
async def test_a_handshake_that_does_not_come_to_an_end_is_not_waited_for(node: Node) -> None:
    limits = ConnectionLimits(head_seconds=7)
    async with open_door(Greeter(), LOOPBACK, ssl=node.credentials.listener_context(), limits=limits) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        writer.write(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() == 7
        writer.close()
        await writer.wait_closed()


async def test_silent_handshakes_make_room_for_new_ones(node: Node) -> None:
    limits = ConnectionLimits(at_once=4)
    async with open_door(Greeter(), LOOPBACK, ssl=node.credentials.listener_context(), limits=limits) as door:
        silent = [await asyncio.open_connection(door.address.host, door.address.port) for _ in range(9)]
        assert await greeted(door)
        for reader, _ in silent[:-1]:
            assert await reader.read() == b""
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()


async def test_of_too_many_idle_connections_the_longest_idle_is_closed(node: Node) -> None:
    limits = ConnectionLimits(idle_at_once=1)
    context = node.credentials.listener_context()
    async with open_door(Greeter(), LOOPBACK, ssl=context, limits=limits) as door, AsyncExitStack() as stack:
        (first, ask_first), (second, ask_second) = [await stack.enter_async_context(connected(door)) for _ in range(2)]
        for reader, writer in ((first, ask_first), (second, ask_second)):
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
        assert await first.read() == b""
        ask_second.write(REQUEST)
        assert await second.readuntil(b"hello")


async def test_handshakes_of_one_address_wait_for_their_turn(node: Node) -> None:
    limits = ConnectionLimits(handshakes_per_second=1)
    async with open_door(Greeter(), LOOPBACK, ssl=node.credentials.listener_context(), limits=limits) as door:
        began = time.monotonic()
        assert [await greeted(door) for _ in range(4)] == [True] * 4
        assert time.monotonic() - began > 1.5


async def test_one_address_has_its_share_of_the_connections(node: Node) -> None:
    limits = ConnectionLimits(of_address=2)
    context = node.credentials.listener_context()
    async with open_door(Greeter(), LOOPBACK, ssl=context, limits=limits) as door:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                reader, writer = await stack.enter_async_context(connected(door))
                writer.write(REQUEST)
                await reader.readuntil(b"hello")
            assert not await greeted(door)
        async with asyncio.timeout(30):
            while not await greeted(door):  # noqa: ASYNC110 - the others are gone when the door has noticed
                await asyncio.sleep(0.1)


# ---------------------------------------------------------------- how it ends


async def test_a_request_that_runs_is_finished_while_the_door_closes(node: Node) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await finish.wait()
        return web.Response(text="finished")

    async with open_door(slow, LOOPBACK, ssl=node.credentials.listener_context()) as door, connected(door) as ends:
        reader, writer = ends
        writer.write(REQUEST)
        await started.wait()
        draining = asyncio.create_task(door.drain(5))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(door.address.host, door.address.port)
        finish.set()
        await draining
        assert b"finished" in await reader.readuntil(b"finished")


async def test_a_door_that_closes_gives_up_handshakes_and_who_takes_nothing(node: Node) -> None:
    started = asyncio.Event()

    async def large(_: web.BaseRequest) -> web.StreamResponse:
        started.set()
        return web.Response(body=LARGE)

    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(open_door(large, LOOPBACK, ssl=node.credentials.listener_context()))
        silent, leaving = await asyncio.open_connection(door.address.host, door.address.port)
        async with connected(door) as (reader, writer):
            transport = cast("asyncio.Transport", writer.transport)
            transport.pause_reading()
            writer.write(REQUEST)
            await started.wait()
            await stack.aclose()  # the tests' fixtures see whether a descriptor or a task is left
            transport.resume_reading()
            assert len(await reader.read()) < len(LARGE)
        assert await silent.read() == b""
        leaving.close()
        await leaving.wait_closed()


# After two rounds asyncio has accepted; when the listener is closed then, it forgets the socket, also of plain doors.
@pytest.mark.parametrize("rounds", [0, 1, 3, 4, 5])
async def test_who_comes_as_the_door_closes_is_not_left_open(node: Node, rounds: int) -> None:
    with socket.socket() as client:
        async with open_door(Greeter(), LOOPBACK, ssl=node.credentials.listener_context()) as door:
            client.connect((door.address.host, door.address.port))
            for _ in range(rounds):  # of the event loop
                await asyncio.sleep(0)
        client.settimeout(0)
        with suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_a_short_body_ends_after_what_was_sent(node: Node) -> None:
    ended = asyncio.Event()

    async def short(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(2 * len(LARGE))})
        await response.prepare(request)
        async with open_sink(request.transport, response.write) as sink:
            await sink.write(LARGE)
        response.force_close()
        await end_short(request.transport)
        ended.set()
        return response

    async with open_door(short, LOOPBACK, ssl=node.credentials.listener_context()) as door:
        async with connected(door) as (reader, writer):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.read() == LARGE
        await ended.wait()
