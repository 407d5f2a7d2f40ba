"""Index nodes that cannot be asked: every node looks for itself among all members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.content.source import ContentNotFound
from registryd.notation import Address

if TYPE_CHECKING:
    from registryd.cluster.contract.index import Claim, ClaimReply
    from registryd.cluster.members.member import Member
    from registryd.content.growing import GrowingContent
    from registryd.oci.digest import Digest


class NobodyAnswers:
    """The index nodes, the roster and the store of a node that knows of no other one and receives nothing."""

    def own_place(self) -> NodeLocation:
        return NodeLocation(Address("127.0.0.1", 3173))

    async def claim(self, claim: Claim) -> ClaimReply | None:
        return None

    def addresses(self) -> frozenset[Address]:
        return frozenset()

    def get(self, address: Address) -> Member | None:
        return None

    async def arriving(self, digest: Digest) -> GrowingContent:
        raise ContentNotFound(f"{digest} does not arrive here")


def nobody_coordinates() -> FetchCoordinator:
    """A coordinator by which no node learns of another."""
    nobody = NobodyAnswers()
    return FetchCoordinator(cast("Any", nobody), nobody, nobody, fetch_wait=10.0)
