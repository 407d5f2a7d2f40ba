"""Doors open, refuse to open twice, and close without cutting off what runs."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import pytest
from aiohttp import web

from registryd.notation import Address
from registryd.serving.connections import ConnectionLimits
from registryd.serving.listener import ListenFailed, open_door
from tests.serving.conftest import LOOPBACK

if TYPE_CHECKING:
    from registryd.serving.listener import Door


async def _hello(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


async def test_a_taken_address_is_named() -> None:
    async with open_door(_hello, LOOPBACK) as door:
        with pytest.raises(ListenFailed, match=f"{door.address}.*in use"):
            async with open_door(_hello, door.address):
                pass


async def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenFailed, match=r"203\.0\.113\.1:3172"):
        async with open_door(_hello, Address("203.0.113.1", 3172)):
            pass


async def test_ipv6() -> None:
    async with open_door(_hello, Address("::1", 0)) as door:
        reader, writer = await asyncio.open_connection("::1", door.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"hello" in await reader.read()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("host", "sends_unpaced"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])
async def test_what_stays_within_the_machine_is_not_paced(host: str, *, sends_unpaced: bool) -> None:
    """A node's default may be BBR, which paces by timers; what leaves the machine keeps the node's default."""

    async def tell(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport
        return web.Response(body=_congestion_control(request.transport.get_extra_info("socket")))

    async with open_door(tell, Address(host, 0)) as door:
        reader, writer = await asyncio.open_connection(host, door.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    with socket.socket() as untouched:
        assert answer.endswith(b"\r\n\r\n" + (b"reno" if sends_unpaced else _congestion_control(untouched)))


def _congestion_control(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


async def test_a_request_that_runs_is_finished_while_the_door_closes() -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await finish.wait()
        return web.Response(text="finished")

    async with open_door(slow, LOOPBACK) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        asyncio.get_running_loop().call_later(0.05, finish.set)
        await door.drain(5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(door.address.host, door.address.port)
    assert b"finished" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_requests_that_are_no_http_get_an_answer_and_not_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(_hello, LOOPBACK) as door:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 9000 + b"\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
            writer.write(garbage)
            assert (await reader.read()).split()[1] == b"400"
            writer.close()
            await writer.wait_closed()
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_request_that_does_not_end_is_cut_off() -> None:
    started = asyncio.Event()

    async def endless(_: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable: nothing sets the event")

    async with open_door(endless, LOOPBACK) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        await door.drain(0.01)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_connections_beyond_the_limit_are_closed_as_they_come() -> None:
    gate, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        arrived.release()
        await gate.wait()
        return await _hello(request)

    async with open_door(wait, LOOPBACK, limits=ConnectionLimits(at_once=2)) as door:
        asking = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            asking.append((reader, writer))
            await arrived.acquire()
        third = await asyncio.open_connection(door.address.host, door.address.port)
        assert await third[0].read() == b""
        gate.set()
        for reader, _ in asking:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in (*asking, third):
            writer.close()
            await writer.wait_closed()


async def test_connections_that_ask_for_nothing_make_room_for_new_ones() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(at_once=8)) as door, AsyncExitStack() as stack:
        silent = [await _Asker.connect(door) for _ in range(40)]
        asker = await _Asker.connect(door)
        for one in (*silent, asker):
            stack.push_async_callback(one.aclose)
        await asker.ask()
        for one in silent[:-2]:
            assert await one.reader.read() == b""


async def test_a_connection_that_never_begins_to_ask_is_not_waited_for() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(head_seconds=0.05)) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


class _Asker:
    """A connection that asks when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, door: Door) -> Self:
        return cls(*await asyncio.open_connection(door.address.host, door.address.port))

    async def ask(self) -> None:
        self._writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await self.reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def test_of_too_many_idle_connections_the_longest_idle_is_closed() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(idle_at_once=2)) as door, AsyncExitStack() as stack:
        fresh, first, second, third = [await _Asker.connect(door) for _ in range(4)]
        for asker in (fresh, first, second, third):
            stack.push_async_callback(asker.aclose)
        await first.ask()
        await second.ask()
        await first.ask()  # from now on it is the second that has been idle for longest
        await third.ask()
        assert await second.reader.read() == b""
        for asker in (first, third, fresh):  # who has not asked yet is not idle
            await asker.ask()


async def test_an_idle_connection_makes_room_for_a_new_one() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(at_once=2)) as door, AsyncExitStack() as stack:
        first, second, third = [await asked(door) for _ in range(3)]
        for asker in (first, second, third):
            stack.push_async_callback(asker.aclose)
        assert await first.reader.read() == b""
        await second.ask()
        await third.ask()


async def asked(door: Door) -> _Asker:
    asker = await _Asker.connect(door)
    await asker.ask()
    return asker


@pytest.mark.looptime
async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(idle_seconds=7)) as door:
        asker = await _Asker.connect(door)
        await asker.ask()
        await asyncio.sleep(6)
        await asker.ask()
        assert await asker.reader.read() == b""
        assert 12 < asyncio.get_running_loop().time() < 15  # aiohttp rounds up to whole seconds
        await asker.aclose()


async def test_a_head_that_does_not_come_to_an_end_is_not_waited_for() -> None:
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(head_seconds=0.05)) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        answered = await reader.read()
        assert b"HTTP/1.1" not in answered
        writer.close()
        await writer.wait_closed()


async def test_who_asks_too_often_is_answered_at_a_pace() -> None:
    loop = asyncio.get_running_loop()
    async with open_door(_hello, LOOPBACK, limits=ConnectionLimits(requests_per_second=10)) as door:
        reader, writer = await asyncio.open_connection(door.address.host, door.address.port)
        began = loop.time()
        for _ in range(12):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        assert loop.time() - began >= 0.1
        writer.close()
        await writer.wait_closed()
