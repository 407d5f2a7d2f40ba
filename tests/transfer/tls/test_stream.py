from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.tls.stream import TlsStream
from tests.fakes.certificates import server_tls
from tests.transfer.tls_pair import flush, receive, tls_pair

if TYPE_CHECKING:
    from pathlib import Path

DATA = os.urandom(5_000_000)


@pytest.mark.parametrize("at_a_time", [1000, 100_000, 1 << 20], ids=["less than a record", "some", "many"])
async def test_bytes_arrive_in_order_however_they_are_taken(tmp_path: Path, at_a_time: int) -> None:
    with tls_pair(tmp_path) as (server, client):
        server.seal(DATA)
        sending = asyncio.create_task(flush(server))
        assert await receive(client, len(DATA), at_a_time=at_a_time) == DATA
        await sending
        assert client.is_quiet


async def test_both_directions_at_once(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        server.seal(DATA)
        client.seal(DATA[::-1])
        there, back, *_ = await asyncio.gather(
            receive(server, len(DATA)), receive(client, len(DATA)), flush(server), flush(client)
        )
        assert (there, back) == (DATA[::-1], DATA)


async def test_what_the_socket_does_not_take_is_told_and_kept(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        server.seal(DATA)
        before = server.unsent_bytes
        with pytest.raises(BlockingIOError):
            server.flush()
        assert 0 < server.unsent_bytes < before
        assert server.is_unsent
        sending = asyncio.create_task(flush(server))
        assert await receive(client, len(DATA)) == DATA
        await sending
        assert (server.unsent_bytes, server.is_unsent) == (0, False)


async def test_nothing_to_receive_is_no_end(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, _), pytest.raises(BlockingIOError):
        server.receive_now(memoryview(bytearray(100)))


async def test_after_the_goodbye_comes_the_end_and_the_other_direction_stays(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        client.seal(b"last")
        client.say_goodbye()
        client.flush()
        assert await receive(server, 100) == b"last"
        server.seal(b"answer")
        server.flush()
        assert await receive(client, 6) == b"answer"


async def test_an_end_without_a_goodbye_is_an_end(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        client.seal(b"last")
        client.flush()
        client.socket.shutdown(socket.SHUT_WR)
        assert await receive(server, 100) == b"last"
        assert server.receive_now(memoryview(bytearray(100))) == 0


async def test_bytes_before_one_that_was_changed_are_received(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        client.seal(b"good")
        client.flush()
        client.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await receive(server, 4) == b"good"
        with pytest.raises(ssl.SSLError):
            await receive(server, 1)


async def test_what_nobody_asked_for_is_not_quiet(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        server.seal(b"asked for, and more")
        server.flush()
        assert await receive(client, 9, at_a_time=9) == b"asked for"
        assert not client.is_quiet
        client.rest()
        assert await receive(client, 10) == b", and more"
        assert client.is_quiet


async def test_many_small_records_take_several_calls(tmp_path: Path) -> None:
    """Otherwise a member that sends one byte in each would have the loop for itself for seconds."""
    small = DATA[:4000]
    with tls_pair(tmp_path) as (server, client):
        for byte in small:
            server.seal(bytes((byte,)))
        sending = asyncio.create_task(flush(server))
        counts, buffer = [], memoryview(bytearray(256 * 1024))
        data = bytearray()
        while len(data) < len(small):
            await asyncio.sleep(0)
            with suppress(BlockingIOError):
                counts.append(client.receive_now(buffer))
                data += buffer[: counts[-1]]
        await sending
    assert data == small
    assert max(counts) == 1024


async def test_a_session_that_has_nothing_in_it_is_given_up(tmp_path: Path) -> None:
    nothing = pytest.raises(ConnectionAbortedError, match="bytes of TLS have nothing in them")
    with tls_pair(tmp_path, tickets=300) as (_, client), nothing:
        client.receive_now(memoryview(bytearray(256 * 1024)))


async def test_some_tickets_before_the_content_are_no_fault(tmp_path: Path) -> None:
    with tls_pair(tmp_path, tickets=20) as (server, client):
        server.seal(DATA)
        sending = asyncio.create_task(flush(server))
        assert await receive(client, len(DATA)) == DATA
        await sending


async def test_memory_is_given_back_only_when_it_holds_nothing(tmp_path: Path) -> None:
    with tls_pair(tmp_path) as (server, client):
        server.seal(DATA)
        sending = asyncio.create_task(flush(server))
        first = await receive(client, 300_000)
        client.rest()
        assert first + await receive(client, len(DATA) - len(first)) == DATA
        client.rest()
        await sending
        server.seal(b"another")
        server.flush()
        assert await receive(client, 7) == b"another"


async def test_who_does_not_speak_tls_is_refused(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(0)
        server = TlsStream(far, server_tls(tmp_path, "127.0.0.1"), server_side=True)
        with pytest.raises(BlockingIOError):
            server.shake_hands_now()
        assert not server.is_unsent
        near.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            server.shake_hands_now()


async def test_who_is_refused_is_told_why(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.settimeout(0)
        server_context = server_tls(tmp_path, "127.0.0.1")
        server_context.minimum_version = ssl.TLSVersion.TLSv1_3
        client_context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        client_context.maximum_version = ssl.TLSVersion.TLSv1_2
        server = TlsStream(far, server_context, server_side=True)
        client = TlsStream(near, client_context, server_side=False, host="127.0.0.1")
        with pytest.raises(BlockingIOError):
            client.shake_hands_now()
        with pytest.raises(ssl.SSLError):
            server.shake_hands_now()
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            client.shake_hands_now()


async def test_who_goes_away_in_the_handshake_is_an_error(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(0)
        server = TlsStream(far, server_tls(tmp_path, "127.0.0.1"), server_side=True)
        near.close()
        with pytest.raises(OSError):  # noqa: PT011 - any
            server.shake_hands_now()
