"""Requests with bodies that nobody wants: answered, not read, and no line in the log for each."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.serving.test_hostile import OpenDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from registryd.notation import Address

CHUNK = b"x" * 65536
# More than the kernel keeps for a connection, at both ends.
PLENTY = 64 << 20


@pytest.fixture(params=["registry", "bytes"])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Address]:
    opened = OpenDoor(request.param, tmp_path)
    try:
        yield await opened.open()
    finally:
        await opened.aclose()


async def conversation(address: Address, head: str, *, most: int = PLENTY) -> tuple[bytes, int]:
    """What is answered to a head and a body of so many bytes, and how much of the body was taken."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    taken = 0
    try:
        writer.write(head.encode())
        with suppress(ConnectionError, TimeoutError):
            while taken < most:
                writer.write(CHUNK)
                taken += len(CHUNK)
                async with asyncio.timeout(0.3):
                    await writer.drain()
        with suppress(ConnectionError):
            return await reader.readuntil(b"\r\n\r\n"), taken
        return b"", taken
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "head",
    [
        f"POST /v2/demo/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: {PLENTY}\r\n\r\n",
        f"PUT / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {PLENTY}\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        f"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: {PLENTY}\r\n\r\n",
    ],
)
async def test_a_body_that_nobody_wants_is_not_read(door: Address, head: str, caplog: pytest.LogCaptureFixture) -> None:
    answer, taken = await conversation(door, head)
    assert answer.startswith((b"HTTP/1.1 405", b"HTTP/1.1 200", b"HTTP/1.1 404"))
    assert taken < PLENTY
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_bodies_in_encodings_that_they_are_not_in_cost_no_lines(
    door: Address, caplog: pytest.LogCaptureFixture
) -> None:
    for encoding in ("gzip", "deflate", "br", "identity", "nonsense"):
        head = f"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\nContent-Length: 65536\r\n\r\n"
        answer, _ = await conversation(door, head, most=65536)
        assert answer.startswith((b"HTTP/1.1 405", b"HTTP/1.1 404"))
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_get_with_a_short_body_is_answered_and_the_connection_ends(door: Address) -> None:
    reader, writer = await asyncio.open_connection(door.host, door.port)
    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
    with suppress(ConnectionError):
        assert (await reader.read()).startswith((b"HTTP/1.1 200", b"HTTP/1.1 404"))
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
