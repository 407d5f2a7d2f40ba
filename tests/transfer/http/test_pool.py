"""Connections between two bodies: used again, replaced when they have ended, closed in time."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from functools import partial as bound
from typing import TYPE_CHECKING

import pytest

from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.http.fetch import fetch
from registryd.transfer.http.pool import ConnectionPool, PoolLimits
from registryd.transfer.memory import read_all
from tests.fakes.certificates import server_tls
from tests.transfer.scripted_source import Exchange, partial, scripted_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.transfer.body import Body
    from tests.transfer.scripted_source import Source

DATA = b"0123456789"
ENDLESS = 1000


@asynccontextmanager
async def good_source() -> AsyncIterator[Source]:
    async with scripted_source(answer_well, requests=ENDLESS) as source:
        yield source


async def answer_well(exchange: Exchange) -> None:
    await exchange.send(partial(DATA), DATA)


async def open_body(source: Source, kept: ConnectionPool, context: ssl.SSLContext | None = None) -> Body:
    return await fetch(
        source.address,
        "/v1/blobs/x",
        span=Span.whole(10),
        size=10,
        ssl=context,
        connect_timeout=2.0,
        first_byte_timeout=3.0,
        kept=kept,
    )


async def get(source: Source, kept: ConnectionPool, context: ssl.SSLContext | None = None) -> bytes:
    return await read_all(await open_body(source, kept, context), limit=10)


async def until_empty(kept: ConnectionPool) -> None:
    while len(kept):  # noqa: ASYNC110 - there is no event to offer
        await asyncio.sleep(0)


@pytest.fixture
def server_context(tmp_path: Path) -> ssl.SSLContext:
    context = server_tls(tmp_path, "127.0.0.1")
    context.num_tickets = 0  # as agents have it; a ticket would come after the answer, unasked
    return context


@pytest.fixture
def client_context(tmp_path: Path, server_context: ssl.SSLContext) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))


# ---------------------------------------------------------------- used again


async def test_the_next_body_comes_over_the_same_connection() -> None:
    async with good_source() as source:
        with ConnectionPool() as kept:
            assert [await get(source, kept) for _ in range(3)] == [DATA] * 3
    assert source.connections == 1
    assert b"Connection: close" not in source.heads[0]


async def test_and_so_it_does_with_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async with scripted_source(answer_well, ssl=server_context, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert [await get(source, kept, client_context) for _ in range(3)] == [DATA] * 3
    assert source.connections == 1


async def test_a_connection_has_one_body_at_a_time() -> None:
    async with good_source() as source:
        with ConnectionPool() as kept:
            bodies = [await open_body(source, kept) for _ in range(2)]
            assert [await read_all(body, limit=10) for body in bodies] == [DATA, DATA]
            assert len(kept) == source.connections == 2


async def test_a_body_that_was_not_read_to_its_end_takes_its_connection_along() -> None:
    async def answer_in_halves(exchange: Exchange) -> None:
        await exchange.send(partial(DATA), DATA[:5])
        await given_up.wait()

    given_up = asyncio.Event()
    async with scripted_source(answer_in_halves) as source:
        with ConnectionPool() as kept:
            await (await open_body(source, kept)).aclose()
            assert not len(kept)
            given_up.set()


@pytest.mark.parametrize(
    "response",
    [
        (partial(DATA), DATA, b"and more than it said"),
        (partial(DATA, more="Connection: keep-alive, Close\r\n"), DATA),
        (partial(DATA).replace(b"HTTP/1.1", b"HTTP/1.0"), DATA),
    ],
)
async def test_what_may_not_be_used_again_is_not(response: tuple[bytes, ...]) -> None:
    async with scripted_source(lambda exchange: exchange.send(b"".join(response)), requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert [await get(source, kept) for _ in range(2)] == [DATA] * 2
    assert source.connections == 2


# ---------------------------------------------------------------- ended meanwhile


async def test_a_connection_that_the_source_closes_is_closed_at_once() -> None:
    async with scripted_source(answer_well) as source:
        with ConnectionPool() as kept:
            assert await get(source, kept) == DATA
            await until_empty(kept)
            assert await get(source, kept) == DATA
    assert source.connections == 2


async def test_so_is_one_that_says_something_unasked() -> None:
    async def answer_and_go_on(exchange: Exchange) -> None:
        await answer_well(exchange)
        await was_kept.wait()
        await exchange.send(partial(b"!" * 10), b"!" * 10)

    was_kept = asyncio.Event()
    async with scripted_source(answer_and_go_on, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert await get(source, kept) == DATA
            was_kept.set()
            await until_empty(kept)
            assert await get(source, kept) == DATA


@pytest.mark.parametrize("resets", [False, True])
async def test_one_that_ends_when_it_is_asked_is_replaced(*, resets: bool) -> None:
    async def answer_first(exchange: Exchange) -> None:
        if len(source.heads) != 2:
            await answer_well(exchange)
            return
        if resets:
            exchange.reset()
        raise ConnectionError

    async with scripted_source(answer_first, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert [await get(source, kept) for _ in range(2)] == [DATA] * 2
    assert (source.connections, len(source.heads)) == (2, 3)


async def test_one_is_replaced_once() -> None:
    async def answer_first(exchange: Exchange) -> None:
        if len(source.heads) > 1:
            raise ConnectionError
        await answer_well(exchange)

    async with scripted_source(answer_first, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert await get(source, kept) == DATA
            with pytest.raises(SourceBroken, match="not an HTTP response"):
                await get(source, kept)
    assert (source.connections, len(source.heads)) == (2, 3)


async def test_who_has_begun_to_answer_is_not_asked_again() -> None:
    async def answer_first(exchange: Exchange) -> None:
        if len(source.heads) > 1:
            await exchange.send(b"HTTP/1.1 206 Par")
            raise ConnectionError
        await answer_well(exchange)

    async with scripted_source(answer_first, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert await get(source, kept) == DATA
            with pytest.raises(SourceBroken, match="not an HTTP response"):
                await get(source, kept)
    assert source.connections == 1


@pytest.mark.looptime
async def test_silence_is_not_waited_for_twice() -> None:
    async def answer_first(exchange: Exchange) -> None:
        if len(source.heads) > 1:
            await asyncio.Event().wait()
        await answer_well(exchange)

    async with scripted_source(answer_first, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            assert await get(source, kept) == DATA
            with pytest.raises(SourceBroken, match="no first byte within 3 s"):
                await get(source, kept)
            assert asyncio.get_running_loop().time() == 3.0
    assert source.connections == 1


# ---------------------------------------------------------------- closed in time


@pytest.mark.looptime
async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with good_source() as source:
        with ConnectionPool(PoolLimits(idle_seconds=7)) as kept:
            await get(source, kept)
            await asyncio.sleep(6)
            await get(source, kept)  # begins anew
            await asyncio.sleep(6.9)
            assert len(kept) == 1
            await asyncio.sleep(0.2)
            assert len(kept) == 0
    assert source.connections == 1


@pytest.mark.looptime
async def test_an_old_connection_is_closed_however_often_it_is_used() -> None:
    async with good_source() as source:
        with ConnectionPool(PoolLimits(idle_seconds=7, age_seconds=20)) as kept:
            for _ in range(4):
                await get(source, kept)
                await asyncio.sleep(6)
            assert source.connections == 1
            assert len(kept) == 0
            await get(source, kept)
    assert source.connections == 2


@pytest.mark.looptime
async def test_a_body_that_outlives_its_connection_is_its_last() -> None:
    async with good_source() as source:
        with ConnectionPool(PoolLimits(age_seconds=20)) as kept:
            body = await open_body(source, kept)
            await asyncio.sleep(21)
            assert await read_all(body, limit=10) == DATA
            assert len(kept) == 0


async def test_so_many_at_a_source_and_in_all_and_the_oldest_goes() -> None:
    async with good_source() as one, good_source() as other:
        with ConnectionPool(PoolLimits(at_a_source=2, at_once=3)) as kept:
            for source in (one, other):
                for body in [await open_body(source, kept) for _ in range(3)]:
                    await read_all(body, limit=10)
            assert len(kept) == 3
            taken = [kept.take(source.address, None) for source in (one, other, other, other)]
            assert [wire is not None for wire in taken] == [True, True, True, False]
            for wire in filter(None, taken):
                wire.close()


async def test_connections_of_former_certificates_are_closed(
    tmp_path: Path, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with good_source() as plain, scripted_source(answer_well, ssl=server_context, requests=ENDLESS) as source:
        with ConnectionPool() as kept:
            await get(plain, kept)
            await get(source, kept, client_context)
            assert len(kept) == 2
            await get(source, kept, ssl.create_default_context(cafile=str(tmp_path / "ca.crt")))
            assert len(kept) == 2
            assert kept.take(source.address, client_context) is None
    assert source.connections == 2


async def test_what_is_brought_back_after_the_end_is_closed() -> None:
    async with good_source() as source:
        with ConnectionPool() as kept:
            read = bound(read_all, await open_body(source, kept), limit=10)
        assert await read() == DATA
        assert len(kept) == 0
