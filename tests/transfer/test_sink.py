from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from registryd.transfer.body import BytesBody, ChunksBody
from registryd.transfer.errors import ReceiverIdle, SinkClosed, SourceBroken
from registryd.transfer.memory import MemorySink
from registryd.transfer.sink import ConnectionSink, open_sink
from tests.fakes.certificates import server_tls
from tests.transfer.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

DATA = os.urandom(3_000_000)


@asynccontextmanager
async def connection(
    server_context: ssl.SSLContext | None = None, client_context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    """A server's side and a client's side, of which the second reads."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, w: accepted.set_result(w), "127.0.0.1", 0, ssl=server_context)
    reader, client = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=client_context)
    writer = await accepted
    try:
        yield writer, reader
    finally:
        for end in (writer, client):
            end.close()
        server.close()
        await asyncio.sleep(0.01)  # TLS says goodbye


async def write_and_drain(writer: asyncio.StreamWriter, data: bytes | memoryview) -> None:
    writer.write(data)
    await writer.drain()


async def never(data: bytes | memoryview) -> None:
    raise AssertionError("nothing can be sent")


# ---------------------------------------------------------------- sinks


async def test_a_plain_connection_gives_its_descriptor_when_the_head_has_left() -> None:
    async with connection() as (writer, reader):
        writer.write(DATA)  # a head that does not fit the socket's buffer
        transport = cast("asyncio.Transport", writer.transport)
        reading = asyncio.create_task(reader.readexactly(2 * len(DATA)))
        async with open_sink(transport, lambda data: write_and_drain(writer, data)) as sink:
            assert sink.fd is not None
            await sink.write(DATA)
            assert sink.sent == len(DATA)
        assert await reading == 2 * DATA


async def test_an_encrypted_connection_is_written_through(tmp_path: Path) -> None:
    server_context = server_tls(tmp_path, "127.0.0.1")
    client_context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    async with connection(server_context, client_context) as (writer, reader):
        reading = asyncio.create_task(reader.readexactly(len(DATA)))
        transport = cast("asyncio.Transport", writer.transport)
        async with open_sink(transport, lambda data: write_and_drain(writer, data)) as sink:
            assert sink.fd is None
            await sink.write(DATA)
            assert sink.sent == len(DATA)
        assert await reading == DATA


async def test_what_a_connection_has_taken_counts_when_its_body_is_left_in_the_drain() -> None:
    taken, drained = bytearray(), asyncio.Event()

    async def write_through(data: bytes | memoryview) -> None:
        taken.extend(data)
        await drained.wait()

    sink = ConnectionSink(None, write_through)
    writing = asyncio.create_task(BytesBody(DATA[:5]).send_to(sink))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait((writing,))
    assert writing.cancelled()
    drained.set()
    await BytesBody(DATA[sink.sent : 9]).send_to(sink)
    assert bytes(taken) == DATA[:9]
    assert sink.sent == 9


async def test_a_connection_that_is_gone_is_no_sink() -> None:
    async with connection() as (writer, _):
        writer.close()
        with pytest.raises(SinkClosed):
            async with open_sink(cast("asyncio.Transport", writer.transport), never):
                pass
    with pytest.raises(SinkClosed):
        async with open_sink(None, never):
            pass


async def test_a_receiver_that_goes_away_closes_the_sink() -> None:
    with receiver() as got:
        got.hang_up()
        with pytest.raises(SinkClosed):
            await BytesBody(DATA).send_to(got.sink)


# ---------------------------------------------------------------- bodies in memory


async def chunks(*parts: bytes) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part


async def test_chunks_are_cut_at_the_length() -> None:
    await ChunksBody(chunks(b"abc", b"def", b"never asked for"), length=5).send_to(sink := MemorySink())
    assert sink.data == b"abcde"


async def test_chunks_that_end_early_are_a_broken_source() -> None:
    with pytest.raises(SourceBroken, match="2 bytes early"):
        await ChunksBody(chunks(b"abc"), length=5).send_to(MemorySink())


async def test_closing_a_body_closes_its_stream() -> None:
    stream = chunks(b"abc", b"def")
    await anext(stream)
    await ChunksBody(stream, length=6).aclose()
    assert await anext(stream, None) is None


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_receiver_that_takes_nothing_is_not_waited_for(tmp_path: Path, *, is_encrypted: bool) -> None:
    contexts: list[ssl.SSLContext] = []
    if is_encrypted:
        contexts = [
            server_tls(tmp_path, "127.0.0.1"),
            ssl.create_default_context(cafile=str(tmp_path / "ca.crt")),
        ]
    async with connection(*contexts) as (writer, _):
        transport = cast("asyncio.Transport", writer.transport)
        with pytest.raises(ReceiverIdle, match=r"took nothing for 0\.05 s"):  # noqa: PT012
            async with open_sink(transport, lambda data: write_and_drain(writer, data), patience=0.05) as sink:
                while True:
                    await sink.write(DATA)
        transport.abort()
