"""Answers to somebody who is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.content.source import Content, OpenContent
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.serving.listener import open_door
from registryd.serving.sending import RequestedRange, send_content, send_head
from registryd.transfer.body import BytesBody
from registryd.transfer.errors import SinkClosed

if TYPE_CHECKING:
    import pytest
    from aiohttp import web

DATA = b"0123456789"
CONTENT = Content(Digest.of(DATA), len(DATA), "application/octet-stream")


async def ask(address: Address, method: str) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_receiver_that_left_while_we_searched_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    failures = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        opened = OpenContent(CONTENT, Span.whole(len(DATA)), BytesBody(DATA))
        delivery = await send_content(request, opened, RequestedRange(None).head_of(opened), on_sent=lambda _: None)
        failures.append(delivery.failure)
        return delivery.response

    async with open_door(answer, Address("127.0.0.1", 0)) as door:
        assert await ask(door.address, "GET") == b""
    assert [type(failure) for failure in failures] == [SinkClosed]
    assert not caplog.records


async def test_a_head_for_somebody_who_left_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return await send_head(request, CONTENT)

    async with open_door(answer, Address("127.0.0.1", 0)) as door:
        assert await ask(door.address, "HEAD") == b""
    assert not caplog.records
