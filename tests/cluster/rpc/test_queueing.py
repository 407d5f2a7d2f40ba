"""Nodes that all ask the same one at the same moment."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.contract.index import Announcement, Claim, NodeLocation
from registryd.cluster.errors import PeerSilent
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.queueing import accepts_connections, queue_seconds
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.reference import TaggedName
from tests.fakes.entitled import sought
from tests.fakes.peers import silent

if TYPE_CHECKING:
    from tests.cluster.conftest import Lab

HERE = NodeLocation(Address("127.0.0.1", 3173))
DIGEST = Digest.of(b"wanted")
PATIENCE, QUEUE = 0.1, 1.0


def test_a_small_cluster_has_no_queue_and_a_large_one_is_not_waited_for_without_end() -> None:
    assert queue_seconds(12) < 0.05
    assert queue_seconds(1000) == pytest.approx(2.0)
    assert queue_seconds(5000) == queue_seconds(100_000) < 10


async def test_what_listens_accepts_connections_even_if_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await accepts_connections(Address("127.0.0.1", listener.getsockname()[1]))


async def test_a_closed_port_accepts_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not await accepts_connections(Address("127.0.0.1", port))


async def test_a_host_that_is_not_known_accepts_none() -> None:
    assert not await accepts_connections(Address("nobody.invalid", 3173))


async def test_only_what_all_nodes_ask_is_waited_for_longer(lab: Lab) -> None:
    address = (await lab.start(silent())).address
    peer = GrpcPeer(address, timeout=PATIENCE, credentials=NoCredentials(), queue=lambda: QUEUE)
    for question, is_of_all in (
        (peer.claim(Claim(DIGEST, HERE)), True),
        (peer.announce(Announcement(HERE)), True),
        (peer.resolve(TaggedName.parse("docker.io/library/nginx:1")), True),
        (peer.find(sought(DIGEST)), False),
        (peer.hello(), False),
    ):
        begun = time.monotonic()
        with pytest.raises(PeerSilent):
            await asyncio.wait_for(question, 30)
        assert (time.monotonic() - begun >= PATIENCE + QUEUE - 0.01) == is_of_all
    await peer.aclose()
