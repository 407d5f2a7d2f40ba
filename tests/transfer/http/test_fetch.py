from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken, SourceBusy, SourceRefused
from registryd.transfer.http.fetch import fetch
from registryd.transfer.memory import read_all
from tests.transfer.scripted_source import Exchange, partial, scripted_source

if TYPE_CHECKING:
    from registryd.transfer.body import Body

DATA = b"0123456789"
WHOLE = Span.whole(10)


async def fetch_from(address: tuple[str, int], span: Span = WHOLE, *, first_byte_timeout: float = 3.0) -> Body:
    return await fetch(
        address,
        "/v1/blobs/x",
        span=span,
        size=10,
        ssl=None,
        connect_timeout=2.0,
        first_byte_timeout=first_byte_timeout,
        headers=[("X-Ticket", "t")],
    )


# ---------------------------------------------------------------- what it asks and what it takes


async def test_asks_for_exactly_the_span() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(partial(DATA[2:5], start=2, size=10), DATA[2:5])

    async with scripted_source(answer) as source:
        body = await fetch_from(source.address, Span(2, 5))
        assert await read_all(body, limit=10) == b"234"
    request = source.heads[0].decode()
    assert request.startswith("GET /v1/blobs/x HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{source.address[1]}\r\n" in request
    assert "Range: bytes=2-4\r\n" in request
    assert "X-Ticket: t\r\n" in request


@pytest.mark.parametrize(
    "answer",
    [
        (partial(DATA), DATA),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", DATA),
        (partial(DATA), DATA, b"and more than it said"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", partial(DATA, more="Content-Encoding: identity\r\n"), DATA),
    ],
)
async def test_takes_the_whole(answer: tuple[bytes, ...]) -> None:
    async with scripted_source(lambda exchange: exchange.send(*answer)) as source:
        assert await read_all(await fetch_from(source.address), limit=10) == DATA


async def test_takes_a_response_that_comes_byte_by_byte() -> None:
    async def answer(exchange: Exchange) -> None:
        for byte in partial(DATA) + DATA:
            await exchange.send(bytes([byte]))
            await asyncio.sleep(0)

    async with scripted_source(answer) as source:
        assert await read_all(await fetch_from(source.address), limit=10) == DATA


async def test_empty_content_has_no_range() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with scripted_source(answer) as source:
        body = await fetch(
            source.address, "/", span=Span(0, 0), size=0, ssl=None, connect_timeout=1, first_byte_timeout=1
        )
        assert await read_all(body, limit=0) == b""
    assert b"Range" not in source.heads[0]


# ---------------------------------------------------------------- what it refuses


async def test_interim_responses_without_end_are_no_answer() -> None:
    """Each is read without waiting: a source that sends nothing else would have the loop for itself."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, partial(DATA), DATA)

    async with scripted_source(answer) as source:
        with pytest.raises(SourceBroken, match="more than 8 interim responses"):
            await fetch_from(source.address)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (partial(DATA[:9]), "Content-Range"),
        (partial(DATA, size=11), "Content-Range"),
        (partial(DATA, start=1, size=11), "Content-Range"),
        (b"HTTP/1.1 206 OK\r\nContent-Length: 10\r\n\r\n", "Content-Range is None"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "Content-Length is None"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n", "encoded"),
        (partial(DATA, more="Content-Encoding: gzip\r\n"), "encoded"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not an HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n", "not an HTTP response"),
        (b"", "not an HTTP response"),
        (partial(DATA), "before the first byte"),
    ],
)
async def test_refuses_what_is_not_exactly_the_bytes(response: bytes, reason: str) -> None:
    async with scripted_source(lambda exchange: exchange.send(response)) as source:
        with pytest.raises(SourceBroken, match=reason):
            await fetch_from(source.address)


async def test_refuses_everything_in_place_of_a_range() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + DATA
    async with scripted_source(lambda exchange: exchange.send(response)) as source:
        with pytest.raises(SourceBroken, match="instead of the range"):
            await fetch_from(source.address, Span(5, 10))


async def test_tells_the_status() -> None:
    async with scripted_source(lambda exchange: exchange.send(b"HTTP/1.1 404 Not Found\r\n\r\n")) as source:
        with pytest.raises(SourceRefused) as caught:
            await fetch_from(source.address)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("Retry-After: 3\r\n", 3.0), ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None), ("", None)],
)
async def test_tells_busy_from_broken(header: str, seconds: float | None) -> None:
    response = f"HTTP/1.1 503 Busy\r\n{header}\r\n".encode()
    async with scripted_source(lambda exchange: exchange.send(response)) as source:
        with pytest.raises(SourceBusy) as caught:
            await fetch_from(source.address)
    assert caught.value.retry_after == seconds


# ---------------------------------------------------------------- how long it waits


async def test_a_refused_connection_is_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(SourceBroken, match="cannot connect"):
        await fetch_from(address)


async def test_a_name_without_address_is_a_reason() -> None:
    with pytest.raises(SourceBroken, match="cannot connect"):
        await fetch_from(("no-such-host.invalid", 1))


@pytest.mark.looptime
async def test_a_source_that_does_not_accept_costs_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())  # fills the accept queue: Linux drops further SYNs
        with pytest.raises(SourceBroken, match="no connection within 2 s"):
            await fetch_from(listener.getsockname())
    assert asyncio.get_running_loop().time() == 2.0


@pytest.mark.looptime
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 206", partial(DATA)])
async def test_silence_costs_the_first_byte_timeout(said: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(said)
        await asyncio.Event().wait()

    async with scripted_source(answer) as source:
        with pytest.raises(SourceBroken, match="no first byte within 7 s"):
            await fetch_from(source.address, first_byte_timeout=7.0)  # longer than a stall in mid-body may be
        assert asyncio.get_running_loop().time() == 7.0


async def test_cancelling_closes_the_connection() -> None:
    arrived = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with scripted_source(answer) as source:
        fetching = asyncio.create_task(fetch_from(source.address))
        await arrived.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    # that no descriptor is left is checked for every test


async def test_the_connection_is_closed_with_the_body() -> None:
    async with scripted_source(lambda exchange: exchange.send(partial(DATA), DATA)) as source:
        async with aclosing(await fetch_from(source.address)) as body:
            assert body.length == 10
        await body.aclose()
