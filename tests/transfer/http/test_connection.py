from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.errors import SourceBroken, SourceCutOff
from registryd.transfer.http.connection import SourceConnection, connect, source_errors
from registryd.transfer.http.link import PlainLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MUCH = 100 << 20


@contextmanager
def _socket_of(wire: SourceConnection) -> Iterator[socket.socket]:
    with socket.fromfd(wire.fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
        yield sock


def _wakes_at(wire: SourceConnection) -> int:
    with _socket_of(wire) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[SourceConnection, socket.socket]]:
    """A connection to a source, and the source's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await connect(listener.getsockname(), ssl=None, timeout=2.0)
        source, _ = listener.accept()
        with source:
            try:
                yield wire, source
            finally:
                wire.close()


async def test_a_request_is_not_kept_back_until_the_handshake_is_acknowledged(
    ends: tuple[SourceConnection, socket.socket],
) -> None:
    with _socket_of(ends[0]) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_little_of_much_wakes_nobody_up_at_once_and_is_received(
    ends: tuple[SourceConnection, socket.socket],
) -> None:
    wire, source = ends
    waiting = asyncio.create_task(wire.wait_lot(MUCH, stall_timeout=60.0))
    await asyncio.sleep(0)
    assert _wakes_at(wire) > 10_000
    source.send(b"little")
    await waiting
    assert wire.receive_now(memoryview(bytearray(100))) == len(b"little")


async def test_a_lot_ends_the_wait(ends: tuple[SourceConnection, socket.socket]) -> None:
    wire, source = ends
    waiting = asyncio.create_task(wire.wait_lot(MUCH))
    await asyncio.sleep(0)
    lot = _wakes_at(wire)
    source.sendall(bytes(lot))
    await waiting
    assert wire.receive_now(memoryview(bytearray(lot))) > 0


async def test_the_end_is_not_waited_for(ends: tuple[SourceConnection, socket.socket]) -> None:
    wire, source = ends
    waiting = asyncio.create_task(wire.wait_lot(MUCH))
    await asyncio.sleep(0)
    source.shutdown(socket.SHUT_WR)
    await waiting
    assert wire.receive_now(memoryview(bytearray(100))) == 0


async def test_the_last_of_a_body_is_received_as_it_comes(ends: tuple[SourceConnection, socket.socket]) -> None:
    wire, source = ends
    source.send(b"x")
    await wire.wait_lot(MUCH)
    await wire.wait_lot(1000)
    assert _wakes_at(wire) == 1


async def test_of_what_is_not_much_any_more_all_but_a_record_is_waited_for(
    ends: tuple[SourceConnection, socket.socket],
) -> None:
    wire, source = ends
    source.send(b"x")
    await wire.wait_lot(42_768)
    waiting = asyncio.create_task(wire.wait_lot(42_768))
    await asyncio.sleep(0)
    assert _wakes_at(wire) == 10_000
    source.sendall(bytes(9_999))
    await waiting


async def test_how_long_a_lot_is_waited_for_is_up_to_the_caller(ends: tuple[SourceConnection, socket.socket]) -> None:
    wire, source = ends
    source.send(b"x")
    waiting = asyncio.create_task(wire.wait_lot(MUCH, lot_seconds=60.0))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    source.shutdown(socket.SHUT_WR)
    await waiting


async def test_a_single_byte_that_nobody_asked_for_is_seen_after_a_body(
    ends: tuple[SourceConnection, socket.socket],
) -> None:
    wire, source = ends
    waiting = asyncio.create_task(wire.wait_lot(MUCH))
    await asyncio.sleep(0)
    lot = _wakes_at(wire)
    source.sendall(bytes(lot))
    await waiting
    while lot:
        lot -= await wire.receive(memoryview(bytearray(lot)))
    assert wire.is_quiet()
    assert _wakes_at(wire) == 1
    source.send(b"x")
    await wire.wait_readable()
    assert not wire.is_quiet()


@pytest.mark.looptime
async def test_silence_is_as_long_as_it_is_said_to_be(ends: tuple[SourceConnection, socket.socket]) -> None:
    with pytest.raises(SourceBroken, match="no byte for 3 s"):
        await ends[0].wait_lot(MUCH, stall_timeout=3.0)
    assert asyncio.get_running_loop().time() == pytest.approx(3.0)


class BarrenLink(PlainLink):
    """As TLS of which only tickets and keys come: there is something to read, and nothing in it."""

    splice_fd = None

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.receive_now = lambda *_: self._receive_nothing()

    def _receive_nothing(self) -> int:
        self.socket.recv(100)
        raise BlockingIOError


@pytest.mark.looptime
async def test_a_source_that_sends_no_content_is_silent() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(0)
        wire = SourceConnection(BarrenLink(near), ("192.0.2.1", 1), None)

        async def chatter() -> None:
            while True:
                await asyncio.sleep(1)
                far.send(b"k")

        chattering = asyncio.create_task(chatter())
        with pytest.raises(SourceBroken, match=r"no byte for 3.5 s"):
            await wire.receive(memoryview(bytearray(100)), stall_timeout=3.5)
        assert asyncio.get_running_loop().time() == pytest.approx(3.5)
        chattering.cancel()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ETIMEDOUT, SourceCutOff),
        (errno.EHOSTUNREACH, SourceCutOff),
        (errno.ENETUNREACH, SourceCutOff),
        (errno.ENETDOWN, SourceCutOff),
        (errno.ECONNRESET, SourceBroken),
        (errno.ECONNREFUSED, SourceBroken),
    ],
)
def test_a_way_that_is_away_is_told_from_a_source_that_broke_off(number: int, kind: type[SourceBroken]) -> None:
    with pytest.raises(SourceBroken) as caught, source_errors():
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
