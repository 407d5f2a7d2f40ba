"""Who gets through to the bytes: real handshakes by Python's ssl."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from registryd.identity.tls import _equip as equip
from registryd.identity.tls import client_context
from registryd.transfer.http.connection import connect
from tests.identity.doors import ANSWER, read_tls, tls_door
from tests.identity.parties import NEW, OLD, Node, intruders, minted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.make(tmp_path, "server", OLD)


async def test_a_member_is_let_in_under_any_address(node: Node) -> None:
    async with tls_door(node.credentials) as door:
        for host in ("127.0.0.1", "whatever.example"):
            assert await read_tls(door.port, client_context(minted(OLD)), server_hostname=host) == ANSWER


async def test_the_wire_of_transfers_needs_to_know_no_name(node: Node) -> None:
    async with tls_door(node.credentials) as door:
        wire = await connect(("127.0.0.1", door.port), ssl=node.credentials.client_context(), timeout=5)
        buffer = bytearray(len(ANSWER))
        assert await wire.receive(memoryview(buffer)) == len(ANSWER)
        wire.close()
        assert buffer == ANSWER


@pytest.mark.parametrize("kind", intruders())
async def test_intruders_never_reach_the_handler(node: Node, kind: str) -> None:
    async with tls_door(node.credentials) as door:
        assert await _refused(door.port, client_context(intruders()[kind]))
        assert door.seen == 0


async def test_without_a_certificate(node: Node) -> None:
    context = ssl.create_default_context(cadata=minted(OLD).roots.decode())
    async with tls_door(node.credentials) as door:
        assert await _refused(door.port, context, server_hostname="registryd.peer")
        assert door.seen == 0


async def test_tls_1_2(node: Node) -> None:
    context = client_context(minted(OLD))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_door(node.credentials) as door:
        assert await _refused(door.port, context)
        assert door.seen == 0


async def test_plain_tcp(node: Node) -> None:
    async with tls_door(node.credentials) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET /v1/blobs/x HTTP/1.1\r\n\r\n")
        assert ANSWER not in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert door.seen == 0


@pytest.mark.parametrize("kind", intruders())
async def test_a_member_talks_to_no_intruder(node: Node, kind: str) -> None:
    # The intruder listens; it trusts our authority, but we do not trust what it shows.
    material = intruders()[kind]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    equip(server, material)
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    async with listener:
        with pytest.raises(ssl.SSLCertVerificationError):
            await read_tls(listener.sockets[0].getsockname()[1], node.credentials.client_context())


async def test_strict_verification_accepts_our_certificates(node: Node) -> None:
    # The default of Python 3.13 and later, in both directions.
    client, server = client_context(minted(OLD, NEW)), node.credentials.listener_context()
    for context in (client, server):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    listener = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=server)
    async with listener:
        assert await read_tls(listener.sockets[0].getsockname()[1], client) == ANSWER


async def test_nothing_is_resumed(node: Node) -> None:
    # A session ticket would let a member in that is none any more.
    async with tls_door(node.credentials) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=client_context(minted(OLD)))
        await reader.read()
        session = writer.get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket
        writer.close()
        await writer.wait_closed()


async def _answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(ANSWER)
    writer.close()
    await writer.wait_closed()


async def _refused(port: int, context: ssl.SSLContext, server_hostname: str | None = None) -> bool:
    """In TLS 1.3 a client thinks that it is through until it reads."""
    try:
        return not await read_tls(port, context, server_hostname=server_hostname)
    except (ssl.SSLError, ConnectionError):
        return True
