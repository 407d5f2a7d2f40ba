"""What is wrong with a peer is told from real calls that fail, in a word or two and never in gRPC's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.errors import PeerFailed, PeerUnreachable
from registryd.cluster.rpc.failures import reason_of
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.server import serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.identity.credentials import NoCredentials
from registryd.identity.membership import MemberCredentials
from registryd.notation import Address
from registryd.observability.metrics import PeerTrouble
from tests.fakes.entitled import given
from tests.fakes.peers import LOOPBACK, garbling, resetting, silent, unreachable
from tests.fakes.sources import MemorySource
from tests.identity.parties import NEW, OLD, OTHER, minted

if TYPE_CHECKING:
    from registryd.identity.credentials import ClientCredentials, ServerCredentials
    from registryd.identity.material import TlsMaterial


class Shown:
    """A source of this material, whatever the clock says."""

    # Any file that is not open to everyone.
    private_path = Path("/proc/self/environ")
    paths: tuple[Path, ...] = ()

    def __init__(self, material: TlsMaterial) -> None:
        self._material = material

    def load(self) -> TlsMaterial:
        return self._material


def showing(material: TlsMaterial) -> MemberCredentials:
    """Credentials that a node with a wrong clock takes for good: it would not load them with a right one."""
    credentials = MemberCredentials(Shown(minted(OLD)))
    credentials._material = material
    return credentials


async def trouble_at(address: Address, credentials: ClientCredentials, *, timeout: float = 20) -> PeerTrouble:
    peer = GrpcPeer(address, timeout=timeout, credentials=credentials)
    try:
        with pytest.raises(PeerFailed) as failed:
            await peer.hello()
    finally:
        await peer.aclose()
    assert str(failed.value) == f"{address}: {failed.value.trouble}"
    return failed.value.trouble


async def trouble_with(server: ServerCredentials) -> PeerTrouble:
    service = ClusterService(Node(NodeId.random(), 0), given(MemorySource()))
    async with serve_peers(LOOPBACK, service, credentials=server) as port:
        return await trouble_at(Address(LOOPBACK.host, port), MemberCredentials(Shown(minted(OLD))))


async def test_nobody_listens() -> None:
    with unreachable() as gone:
        assert await trouble_at(gone.address, NoCredentials()) is PeerTrouble.REFUSED


async def test_nobody_says_anything() -> None:
    async with silent() as mute:
        assert await trouble_at(mute.address, NoCredentials(), timeout=0.7) is PeerTrouble.NO_ANSWER


async def test_a_name_that_nobody_has() -> None:
    assert await trouble_at(Address("nobody.invalid", 1), NoCredentials()) is PeerTrouble.NO_ADDRESS


async def test_the_connection_is_reset() -> None:
    async with resetting() as peer:
        assert await trouble_at(peer.address, NoCredentials()) is PeerTrouble.HUNG_UP


async def test_another_program() -> None:
    async with garbling() as peer:
        assert await trouble_at(peer.address, MemberCredentials(Shown(minted(OLD)))) is PeerTrouble.NO_TLS


async def test_another_secret() -> None:
    assert await trouble_with(showing(minted(OTHER))) is PeerTrouble.OTHER_SECRET
    assert await trouble_with(showing(replace(minted(NEW), roots=minted(OLD).roots))) is PeerTrouble.OTHER_SECRET


@pytest.mark.parametrize("hours", [-25, 9])
async def test_another_time(hours: float) -> None:
    assert await trouble_with(showing(minted(OLD, hours=hours))) is PeerTrouble.CLOCK


async def test_without_a_secret() -> None:
    assert await trouble_with(NoCredentials()) is PeerTrouble.NO_TLS


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        ("connect: No route to host (113)", PeerTrouble.NO_ANSWER),
        ("connect: Network is unreachable (101)", PeerTrouble.NO_ROUTE),
        ("connect: Connection refused (111)", PeerTrouble.REFUSED),
    ],
)
def test_a_host_that_is_gone_gives_no_answer_whatever_the_kernel_calls_it(words: str, trouble: PeerTrouble) -> None:
    """The kernel says so when nobody answers for the address: seconds after the same silence had no name at all."""
    nothing = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details=f"failed to connect: {words}")
    reason = reason_of(error, LOOPBACK)
    assert isinstance(reason, PeerUnreachable)
    assert reason.trouble is trouble
