"""Who gets through to find: real handshakes by gRPC's BoringSSL, and against it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from registryd.identity.credentials import NoCredentials
from registryd.identity.grpc_tls import channel_credentials, channel_options
from tests.identity.doors import ANSWER, call, grpc_door, read_tls, tls_door
from tests.identity.parties import OLD, Node, intruders, minted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.make(tmp_path, "server", OLD)


async def test_a_member_is_let_in(tmp_path: Path, node: Node) -> None:
    asker = Node.make(tmp_path, "asker", OLD)
    async with grpc_door(node.credentials) as door:
        async with asker.credentials.open_channel(f"127.0.0.1:{door.port}") as channel:
            assert await call(channel) == ANSWER
        assert door.seen == 1


@pytest.mark.parametrize("kind", intruders())
async def test_intruders_never_reach_the_handler(node: Node, kind: str) -> None:
    material = intruders()[kind]
    async with grpc_door(node.credentials) as door:
        await _expect_refusal(door.port, channel_credentials(material))
        assert door.seen == 0


async def test_without_a_certificate(node: Node) -> None:
    async with grpc_door(node.credentials) as door:
        await _expect_refusal(door.port, grpc.ssl_channel_credentials(minted(OLD).roots))
        assert door.seen == 0


async def test_plain_grpc(node: Node) -> None:
    async with grpc_door(node.credentials) as door:
        async with NoCredentials().open_channel(f"127.0.0.1:{door.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel)
        assert door.seen == 0


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(range(256))])
async def test_garbage_is_cut_off_and_members_are_served(tmp_path: Path, node: Node, garbage: bytes) -> None:
    asker = Node.make(tmp_path, "asker", OLD)
    async with grpc_door(node.credentials) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(garbage)
        assert ANSWER not in await reader.read()
        writer.close()
        async with asker.credentials.open_channel(f"127.0.0.1:{door.port}") as channel:
            assert await call(channel) == ANSWER
        assert door.seen == 1


@pytest.mark.parametrize("kind", intruders())
async def test_a_member_asks_no_intruder(tmp_path: Path, kind: str) -> None:
    material, asker = intruders()[kind], Node.make(tmp_path, "asker", OLD)
    server = grpc.aio.server()
    pairs = [(material.private_key, material.chain)]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
    await server.start()
    async with asker.credentials.open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await call(channel)
    await server.stop(grace=None)


async def test_no_credentials_means_no_tls() -> None:
    credentials = NoCredentials()
    async with tls_door(credentials) as bytes_door, grpc_door(credentials) as find_door:
        assert await read_tls(bytes_door.port, None) == ANSWER
        async with credentials.open_channel(f"127.0.0.1:{find_door.port}") as channel:
            assert await call(channel) == ANSWER


def test_tls_1_2_is_refused(tmp_path: Path) -> None:
    # gRPC reads its ciphers once in a process, when it is loaded: hence one of its own.
    command = [sys.executable, "-m", "tests.identity.old_tls", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.split() == ["TLSv1.3", "accepted", "TLSv1.2", "refused"], done.stderr


async def _expect_refusal(port: int, credentials: grpc.ChannelCredentials) -> None:
    options = channel_options(minted(OLD))
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await call(channel)
