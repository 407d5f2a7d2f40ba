"""The transport as asyncio's protocols see it, and what the other end of its connection sees."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.tls.transport import TlsTransport
from tests.transfer.tls_pair import flush, receive, tls_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registryd.transfer.tls.stream import TlsStream

DATA = os.urandom(1_000_000)


class Recorder(asyncio.Protocol):
    """What a transport says, in order; stays half-open after the other side's end if it is told to."""

    def __init__(self, *, stays_open: bool = False) -> None:
        self.said: list[str] = []
        self.data = bytearray()
        self.fault: Exception | None = None
        self.lost = asyncio.Event()
        self._stays_open = stays_open
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._say("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._news.set()

    def eof_received(self) -> bool:
        self._say("end")
        return self._stays_open

    def pause_writing(self) -> None:
        self._say("pause")

    def resume_writing(self) -> None:
        self._say("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self._say("lost")
        self.fault = exc
        self.lost.set()

    async def wait_for(self, count: int) -> bytes:
        await self._wait_until(lambda: len(self.data) >= count)
        return bytes(self.data)

    async def wait_said(self, what: str) -> None:
        await self._wait_until(lambda: what in self.said)

    async def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._news.clear()
            await self._news.wait()

    def _say(self, what: str) -> None:
        self.said.append(what)
        self._news.set()


@contextmanager
def serving(folder: Path, recorder: Recorder) -> Iterator[tuple[TlsTransport, TlsStream]]:
    """A transport over the server's end, and the client's end; the server's is closed by its transport."""
    with tls_pair(folder) as (server, client):
        yield TlsTransport(server, recorder), client


async def read_end(client: TlsStream) -> bytes:
    return await receive(client, 1 << 30)


async def test_what_is_written_at_either_end_arrives_at_the_other(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        client.seal(DATA)
        transport.write(DATA[::-1])
        _, back, there = await asyncio.gather(flush(client), receive(client, len(DATA)), recorder.wait_for(len(DATA)))
        assert (there, back) == (DATA, DATA[::-1])
        transport.close()
        await recorder.lost.wait()


async def test_what_came_along_with_the_handshake_is_received(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        client.seal(b"early, and the rest")
        client.flush()
        assert await receive(server, 5, at_a_time=5) == b"early"
        assert not server.is_quiet
        transport = TlsTransport(server, recorder := Recorder())
        assert await recorder.wait_for(14) == b", and the rest"
        transport.abort()
        await recorder.lost.wait()


async def test_it_tells_whom_it_is_connected_to(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert transport.get_extra_info("sslcontext") is transport.get_extra_info("ssl_object").context
        assert transport.get_extra_info("peername") == client.socket.getsockname()
        assert transport.get_extra_info("sockname") == client.socket.getpeername()
        assert transport.get_extra_info("peercert") is None  # of a client that was not asked for one
        assert transport.get_extra_info("socket").family == socket.AF_INET
        assert transport.get_protocol() is recorder
        transport.abort()
        await recorder.lost.wait()


async def test_a_writer_is_held_back_while_the_receiver_takes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.write(DATA)
        assert recorder.said == ["made", "pause"]
        assert transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]
        assert await receive(client, len(DATA)) == DATA
        await recorder.wait_said("resume")
        assert recorder.said == ["made", "pause", "resume"]
        transport.abort()
        await recorder.lost.wait()


async def test_closing_sends_what_was_written_and_says_goodbye(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.write(DATA)
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        assert not recorder.lost.is_set()
        assert await read_end(client) == DATA
        await recorder.lost.wait()
        assert recorder.said[-1] == "lost"
        assert recorder.fault is None


async def test_aborting_sends_nothing_more(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.write(DATA)
        transport.abort()
        await recorder.lost.wait()
        assert len(await read_end(client)) < len(DATA)
        assert recorder.said.count("lost") == 1


@pytest.mark.looptime
async def test_who_takes_nothing_is_not_waited_for_when_the_connection_is_to_be_closed(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, _):
        transport.write(DATA)
        transport.close()
        await recorder.lost.wait()
        assert asyncio.get_running_loop().time() == 30


async def test_the_other_side_ends_and_the_connection_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (_, client):
        client.say_goodbye()
        client.flush()
        await recorder.lost.wait()
        assert recorder.said == ["made", "end", "lost"]


async def test_a_protocol_may_go_on_after_the_end_of_the_other_side(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder(stays_open=True)) as (transport, client):
        client.say_goodbye()
        client.flush()
        client.socket.shutdown(socket.SHUT_WR)
        await recorder.wait_said("end")
        transport.write(DATA)
        assert await receive(client, len(DATA)) == DATA
        transport.close()
        await recorder.lost.wait()
        assert recorder.said.count("end") == 1


async def test_ending_our_direction_only(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.write(DATA)
        assert transport.can_write_eof()
        transport.write_eof()
        transport.write(b"too late")
        assert await read_end(client) == DATA
        client.seal(b"a question that nobody answers")
        client.flush()
        client.close()
        await recorder.lost.wait()
        assert recorder.data == b""
        assert recorder.said[-2:] == ["end", "lost"]


async def test_a_receiver_that_resets_is_lost(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.write(DATA)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        await recorder.lost.wait()
        assert isinstance(recorder.fault, ConnectionError)


async def test_bytes_that_were_changed_end_the_connection(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (_, client):
        client.seal(b"good")
        client.flush()
        client.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await recorder.lost.wait()
        assert recorder.data == b"good"
        assert isinstance(recorder.fault, OSError)


async def test_a_protocol_that_wants_nothing_is_told_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        transport.pause_reading()
        assert not transport.is_reading()
        client.seal(b"a question")
        client.flush()
        for _ in range(10):
            await asyncio.sleep(0)
        assert recorder.data == b""
        transport.resume_reading()
        assert await recorder.wait_for(10) == b"a question"
        transport.abort()
        await recorder.lost.wait()


async def test_who_takes_nothing_is_not_listened_to(tmp_path: Path) -> None:
    with serving(tmp_path, recorder := Recorder()) as (transport, client):
        await asyncio.sleep(0)  # until it has looked for what came along with the handshake
        transport.write(5 * DATA)
        client.seal(b"a question")
        client.flush()
        for _ in range(10):
            await asyncio.sleep(0)
        assert recorder.data == b""
        assert await receive(client, 5 * len(DATA)) == 5 * DATA
        assert await recorder.wait_for(10) == b"a question"
        transport.abort()
        await recorder.lost.wait()


async def test_another_protocol_can_take_over(tmp_path: Path) -> None:
    with serving(tmp_path, first := Recorder()) as (transport, client):
        transport.set_protocol(second := Recorder())
        client.seal(b"a question")
        client.flush()
        assert await second.wait_for(10) == b"a question"
        transport.close()
        await second.lost.wait()
        assert first.said == ["made"]


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_connection_that_was_lost_needs_no_garbage_collector(*, is_reset: bool, tmp_path: Path) -> None:
    recorder = Recorder()
    with tls_pair(tmp_path) as (server, client), no_garbage_collector():
        transport = weakref.ref(TlsTransport(server, recorder))
        await asyncio.sleep(0)
        if is_reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
        else:
            client.say_goodbye()
            client.flush()
        await recorder.lost.wait()
        assert (recorder.fault is not None) == is_reset
        while recorder.said[-1] != "lost" or server.fileno() >= 0:  # noqa: ASYNC110 - its last step
            await asyncio.sleep(0)
        assert transport() is None


@contextmanager
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
