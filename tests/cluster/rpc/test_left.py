"""A node hears that it was left for being slow, and a find says nothing of the kind."""

from __future__ import annotations

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
    heard: list[str] = []
    store = MemorySource()
    store.add(DIGEST, DATA)
    service = ClusterService(FakePeer(LOOPBACK).node, given(store), hear_slow=heard.append)
    async with serve_peers(LOOPBACK, service, credentials=NoCredentials()) as port:
        peer = GrpcPeer(Address(LOOPBACK.host, port), timeout=10.0, credentials=NoCredentials())
        try:
            assert (await peer.find(sought(DIGEST))).content
            assert heard == []
            await peer.tell_slow(sought(DIGEST))
            assert heard == [LOOPBACK.host]
        finally:
            await peer.aclose()
