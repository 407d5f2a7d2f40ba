"""Peers keep their connections to the bytes door: several bodies over one, until the certificates change."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.fetch.opening import blob_path
from registryd.content.ledger import Ledger
from registryd.identity.credentials import NoCredentials
from registryd.observability.metrics import Metrics
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.serving.listener import open_door
from registryd.serving.peer_bytes import CONNECTION_LIMITS, PeerBytesDoor
from registryd.store.directory.store import open_directory_store
from registryd.transfer.errors import SourceBroken, SourceRefused
from registryd.transfer.http.fetch import fetch
from registryd.transfer.http.pool import ConnectionPool, PoolLimits
from registryd.transfer.memory import read_all
from tests.fakes.entitled import given
from tests.identity.parties import NEW, OLD, Node
from tests.serving.conftest import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import web

    from registryd.identity.membership import MemberCredentials
    from registryd.notation import Address

# More than goes into a socket, and than FileBody copies: without TLS it goes by sendfile.
BLOB = os.urandom(6 * 1024 * 1024)
DIGEST = Digest.of(BLOB)


@dataclass
class Peer:
    """Where its bytes door is, and the connections through which it was asked."""

    address: Address
    connections: set[object] = field(default_factory=set)


@asynccontextmanager
async def giving(folder: Path, credentials: MemberCredentials | NoCredentials) -> AsyncIterator[Peer]:
    async with open_directory_store(folder) as store:
        ingest = await store.begin(DIGEST)
        await ingest.write(BLOB)
        await ingest.commit()
        await ingest.aclose()
        door = PeerBytesDoor(store=given(store), ledger=Ledger(Metrics()), still_accepts=credentials.still_accepts)
        peer = Peer(LOOPBACK)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            peer.connections.add(request.protocol)
            return await door.handle(request)

        context = credentials.listener_context()
        async with open_door(handle, LOOPBACK, ssl=context, limits=CONNECTION_LIMITS) as opened:
            peer.address = opened.address
            yield peer


async def get(
    peer: Peer, kept: ConnectionPool, credentials: MemberCredentials | NoCredentials, digest: Digest = DIGEST
) -> bytes:
    body = await fetch(
        (peer.address.host, peer.address.port),
        blob_path(digest),
        span=Span.whole(len(BLOB)),
        size=len(BLOB),
        ssl=credentials.client_context(),
        connect_timeout=5.0,
        first_byte_timeout=5.0,
        kept=kept,
    )
    return await read_all(body, limit=len(BLOB))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_bodies_follow_each_other_on_one_connection(tmp_path: Path, *, encrypted: bool) -> None:
    credentials = Node.make(tmp_path, "a", OLD).credentials if encrypted else NoCredentials()
    async with giving(tmp_path / "store", credentials) as peer:
        with ConnectionPool() as kept:
            for _ in range(3):
                assert await get(peer, kept, credentials) == BLOB
            with pytest.raises(SourceRefused, match="404"):
                await get(peer, kept, credentials, Digest.of(b"absent"))
        assert len(peer.connections) == 1


async def test_who_was_let_in_by_former_certificates_connects_again(tmp_path: Path) -> None:
    giver, asker = Node.make(tmp_path, "giver", OLD), Node.make(tmp_path, "asker", OLD)
    async with giving(tmp_path / "store", giver.credentials) as peer:
        with ConnectionPool() as kept:
            assert await get(peer, kept, asker.credentials) == BLOB
            giver.rotate(NEW, OLD)
            assert await get(peer, kept, asker.credentials) == BLOB
            assert len(peer.connections) == 2


async def test_who_was_put_out_gets_nothing_through_a_connection_that_it_has(tmp_path: Path) -> None:
    giver, asker = Node.make(tmp_path, "giver", OLD), Node.make(tmp_path, "asker", OLD)
    async with giving(tmp_path / "store", giver.credentials) as peer:
        with ConnectionPool() as kept:
            assert await get(peer, kept, asker.credentials) == BLOB
            giver.rotate(NEW)
            with pytest.raises(SourceBroken, match=r"cannot connect|the connection broke"):
                await get(peer, kept, asker.credentials)
            assert len(peer.connections) == 1


def test_it_is_the_asker_who_closes_idle_connections() -> None:
    assert PoolLimits().idle_seconds < CONNECTION_LIMITS.idle_seconds
