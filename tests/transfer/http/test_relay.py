"""Relays between real connections: plain ones by splice, encrypted ones by copying."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.http.connection import SourceConnection
from registryd.transfer.http.fetch import fetch
from registryd.transfer.http.link import PlainLink
from registryd.transfer.http.relay import RelayBody
from registryd.transfer.monitoring.meter import MeteredSink
from registryd.transfer.sink import Sink
from tests.fakes.certificates import server_tls
from tests.fakes.sinks import FakeSink
from tests.transfer.receiver import receiver
from tests.transfer.scripted_source import Exchange, partial, scripted_source

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.transfer.body import Body

# More than the pipe and the sockets on the way hold, so that every wait occurs.
DATA = os.urandom(24 * 1024 * 1024)
TLS = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])


@pytest.fixture
def server_context(tmp_path: Path) -> ssl.SSLContext:
    return server_tls(tmp_path, "127.0.0.1")


@pytest.fixture
def client_context(tmp_path: Path, server_context: ssl.SSLContext) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))


async def fetch_from(
    address: tuple[str, int], *, size: int = len(DATA), context: ssl.SSLContext | None = None, stall: float = 3.0
) -> Body:
    return await fetch(
        address,
        "/blob",
        span=Span.whole(size),
        size=size,
        ssl=context,
        connect_timeout=5.0,
        first_byte_timeout=5.0,
        stall_timeout=stall,
    )


async def send_all(exchange: Exchange) -> None:
    await exchange.send(partial(DATA), DATA)


# ---------------------------------------------------------------- whole bodies


@TLS
async def test_into_a_plain_connection(
    *, encrypted: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with scripted_source(send_all, ssl=server_context if encrypted else None) as source:
        body = await fetch_from(source.address, context=client_context if encrypted else None)
        async with aclosing(body):
            with receiver() as got:
                sending = asyncio.create_task(body.send_to(got.sink))
                assert await got.read(len(DATA)) == DATA
                await sending
                assert got.sink.sent == len(DATA)
                assert await got.read_rest() == b""


@TLS
async def test_into_a_connection_without_a_descriptor(
    *, encrypted: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with scripted_source(send_all, ssl=server_context if encrypted else None) as source:
        body = await fetch_from(source.address, context=client_context if encrypted else None)
        async with aclosing(body):
            await body.send_to(sink := FakeSink())
    assert sink.data == DATA


async def test_what_comes_after_the_length_is_ignored() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(partial(DATA), DATA, b"x" * 1_000_000)

    async with scripted_source(answer) as source, aclosing(await fetch_from(source.address)) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            assert await got.read(len(DATA)) == DATA
            await sending
            assert await got.read_rest() == b""


async def test_an_authority_that_is_not_ours_is_a_reason(server_context: ssl.SSLContext) -> None:
    async with scripted_source(send_all, ssl=server_context) as source:
        with pytest.raises(SourceBroken, match=r"cannot connect: .*CERTIFICATE_VERIFY_FAILED"):
            await fetch_from(source.address, context=ssl.create_default_context())


# ---------------------------------------------------------------- sources that fail


@TLS
@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_what_came_before_the_end_is_sent(
    *, encrypted: bool, ending: str, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    delivered = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(partial(DATA), DATA[:100_000])
        await delivered.wait()
        if ending == "rst":
            exchange.reset()

    async with scripted_source(answer, ssl=server_context if encrypted else None) as source:
        body = await fetch_from(source.address, context=client_context if encrypted else None)
        async with aclosing(body):
            with receiver() as got:
                sending = asyncio.create_task(body.send_to(got.sink))
                assert await got.read(100_000) == DATA[:100_000]
                delivered.set()
                with pytest.raises(SourceBroken):
                    await sending
                assert got.sink.sent == 100_000


@pytest.mark.looptime
async def test_a_source_that_stalls_is_broken_after_the_timeout() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(partial(DATA), DATA[:1000])
        await asyncio.sleep(2)
        await exchange.send(DATA[1000:2000])
        await asyncio.Event().wait()

    async with scripted_source(answer) as source, aclosing(await fetch_from(source.address)) as body:
        with receiver() as got:
            with pytest.raises(SourceBroken, match="no byte for 3 s"):
                await body.send_to(got.sink)
            assert asyncio.get_running_loop().time() == 5.0
            assert await got.read_rest() == DATA[:2000]


# ---------------------------------------------------------------- receivers that fail, cancellation


@TLS
async def test_a_receiver_that_goes_away_is_not_the_sources_fault(
    *, encrypted: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with scripted_source(send_all, ssl=server_context if encrypted else None) as source:
        body = await fetch_from(source.address, context=client_context if encrypted else None)
        async with aclosing(body):
            with receiver() as got:
                sending = asyncio.create_task(body.send_to(got.sink))
                await got.read(1_000_000)
                got.hang_up()
                with pytest.raises(SinkClosed):
                    await sending


async def test_a_relay_lets_others_take_their_turn() -> None:
    async with scripted_source(send_all) as source, aclosing(await fetch_from(source.address)) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            reading = asyncio.create_task(got.read(len(DATA)))
            turns = 0
            while not sending.done():
                await asyncio.sleep(0)
                turns += 1
            await reading
    assert turns >= len(DATA) // (1024 * 1024)


class TinyLink(PlainLink):
    """As TLS whose records have one byte each, and always another one."""

    splice_fd = None

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.receive_now = lambda *_: 1


class Ready(Sink):
    """Takes everything without waiting."""

    def __init__(self) -> None:
        self.sent = 0

    async def write(self, data: bytes | memoryview) -> None:
        self.sent += len(data)


async def test_a_source_of_tiny_records_lets_others_take_their_turn() -> None:
    near, far = socket.socketpair()
    with near, far:
        wire = SourceConnection(TinyLink(near), ("192.0.2.1", 1), None)
        body = RelayBody(wire, b"", length=10_000, stall_timeout=3.0)
        sending = asyncio.create_task(body.send_to(sink := Ready()))
        turns = 0
        while not sending.done():
            await asyncio.sleep(0)
            turns += 1
        await body.aclose()
    assert sink.sent == 10_000
    assert turns >= 2_000


async def test_cancelling_leaves_what_was_sent() -> None:
    async with scripted_source(send_all) as source, aclosing(await fetch_from(source.address)) as body:
        with receiver() as got:
            sending = asyncio.create_task(body.send_to(got.sink))
            await got.read(1_000_000)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            rest = await got.read_rest()
    assert got.sink.sent == 1_000_000 + len(rest)
    assert rest == DATA[1_000_000 : got.sink.sent]


# ---------------------------------------------------------------- into memory


class Slot(Sink):
    """Keeps what comes in its room, without a copy in between."""

    def __init__(self, size: int) -> None:
        self.sent = 0
        self.data = bytearray(size)
        self.written = 0

    @property
    def room(self) -> memoryview:
        return memoryview(self.data)[self.sent :]

    def filled(self, count: int) -> None:
        self.sent += count

    async def write(self, data: bytes | memoryview) -> None:
        self.data[self.sent : self.sent + len(data)] = data
        self.sent += len(data)
        self.written += len(data)


@TLS
@pytest.mark.parametrize("is_metered", [False, True])
async def test_into_memory_without_a_copy(
    *, encrypted: bool, is_metered: bool, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with scripted_source(send_all, ssl=server_context if encrypted else None) as source:
        body = await fetch_from(source.address, context=client_context if encrypted else None)
        async with aclosing(body):
            slot = Slot(len(DATA))
            await body.send_to(MeteredSink(slot) if is_metered else slot)
            assert slot.data == DATA
            assert slot.written < 64 * 1024  # what came along with the head


async def test_a_source_that_ends_early_has_given_what_it_gave() -> None:
    async def send_some(exchange: Exchange) -> None:
        await exchange.send(partial(DATA), DATA[:1_000_000])

    async with scripted_source(send_some) as source, aclosing(await fetch_from(source.address)) as body:
        slot = Slot(len(DATA))
        with pytest.raises(SourceBroken):
            await body.send_to(slot)
        assert slot.data[: slot.sent] == DATA[: slot.sent]
