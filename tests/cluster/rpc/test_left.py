"""A node hears that it was left for being slow, and a find says nothing of the kind."""

from __future__ import annotations

from dataclasses import replace

from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.oci.digest import Digest
from tests.fakes.entitled import given, sought
from tests.fakes.peers import LOOPBACK, FakePeer
from tests.fakes.sources import MemorySource

DATA = b"a layer"
DIGEST = Digest.of(DATA)


async def test_who_leaves_it_says_so() -> None:
    heard: list[tuple[str, bool]] = []

    def hear(host: str, *, is_stripe: bool) -> None:
        heard.append((host, is_stripe))

    store = MemorySource()
    store.add(DIGEST, DATA)
    service = ClusterService(FakePeer(LOOPBACK).node, given(store), hear_slow=hear)
    async with serve_peers(LOOPBACK, service, credentials=NoCredentials()) as port:
        peer = GrpcPeer(Address(LOOPBACK.host, port), timeout=10.0, credentials=NoCredentials())
        try:
            assert (await peer.find(sought(DIGEST))).content
            assert heard == []
            await peer.tell_slow(sought(DIGEST))
            await peer.tell_slow(replace(sought(DIGEST), stripe=3))
            assert heard == [(LOOPBACK.host, False), (LOOPBACK.host, True)]
        finally:
            await peer.aclose()
