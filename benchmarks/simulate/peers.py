"""Other nodes as a simulated node sees them: the real members and messages over the simulated network."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.errors import PeerDeclined
from registryd.cluster.index.ring import RendezvousHash
from registryd.cluster.members.member import Member
from registryd.cluster.rpc.codec import finding, stripe_message
from registryd.cluster.rpc.index_codec import (
    announcement_message,
    claim_message,
    receipt_value,
    verdict_value,
)
from registryd.cluster.rpc.queueing import queue_seconds
from registryd.identity.requester import Requester
from registryd.pb.registryd.v1 import cluster_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.cluster.contract.index import Announcement, Claim, ClaimReply, Receipt
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.contract.peer import FindAnswer, Wait
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span

    from .node import SimulatedNode


FIND_TIMEOUT = 1.0
READ_BYTES = 128 << 10


class SharedRing(RendezvousHash):
    """A ring that many nodes use: what it has worked out for one is there for the others."""

    def __init__(self, addresses: frozenset[Address]) -> None:
        super().__init__(addresses)
        self._known: dict[Digest, list[Address]] = {}

    def index_nodes(self, digest: Digest) -> list[Address]:
        if digest not in self._known:
            self._known[digest] = super().index_nodes(digest)
        return self._known[digest]


shared_ring = lru_cache(maxsize=64)(SharedRing)


class SimulatedPeer:
    """The real messages, over the simulated network."""

    def __init__(self, asker: SimulatedNode, address: Address) -> None:
        self._asker = asker
        self._network = asker.network
        self._requester = Requester(asker.address.host)
        self._address = address

    async def find(self, sought: Sought, wait: Wait | None = None) -> FindAnswer:
        stripe = stripe_message(sought.stripe)
        request = pb.FindRequest(digest=str(sought.digest), repository=str(sought.repository), stripe=stripe)
        if wait is not None:
            request.wait_milliseconds, request.beyond = int(wait.seconds * 1000), wait.beyond
        reply = await self._network.call(
            self._address,
            "find",
            request,
            timeout=FIND_TIMEOUT + (wait.seconds if wait else 0),
            ask=lambda node: node.service.find(request, self._requester),
        )
        return finding(reply, sought.digest)

    async def tell_slow(self, sought: Sought) -> None:
        request = pb.FindRequest(digest=str(sought.digest), repository=str(sought.repository), is_left=True)
        await self._network.call(
            self._address,
            "find",
            request,
            timeout=FIND_TIMEOUT,
            ask=lambda node: node.service.find(request, self._requester),
        )

    async def read(self, sought: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        node = self._network.nodes.get(self._address)
        if node is None or node.store.reach(sought.digest) < span.stop:
            raise PeerDeclined("not here, or not so far yet")
        for start in range(span.start, span.stop, READ_BYTES):
            count = min(READ_BYTES, span.stop - start)
            await self._network.carry(count, node, self._asker)
            yield bytes(count)

    async def claim(self, claim: Claim) -> ClaimReply:
        request = claim_message(claim)
        reply = await self._network.call(
            self._address,
            "claim",
            request,
            timeout=FIND_TIMEOUT + queue_seconds(len(Roster.everyone)),
            ask=lambda node: node.index.claim(request, self._requester),
        )
        return verdict_value(reply)

    async def announce(self, announcement: Announcement) -> Receipt:
        request = announcement_message(announcement)
        reply = await self._network.call(
            self._address,
            "announce",
            request,
            timeout=FIND_TIMEOUT + queue_seconds(len(Roster.everyone)),
            ask=lambda node: node.index.announce(request, self._requester),
        )
        return receipt_value(reply)


class Roster:
    """The members as one node sees them: those that discovery gives, without those that failed it."""

    everyone: frozenset[Address] = frozenset()  # what discovery gives, to all alike

    def __init__(self, node: SimulatedNode, own_id: NodeId) -> None:
        self._node = node
        self._own_id = own_id
        self._members: dict[Address, Member] = {}
        self._aside: set[Address] = set()
        self._seen: tuple[frozenset[Address], int, frozenset[Address]] = (frozenset(), 0, frozenset())

    def addresses(self) -> frozenset[Address]:
        everyone, aside, seen = self._seen
        if everyone is not self.everyone or aside != len(self._aside):
            seen = self.everyone - self._aside if self._aside else self.everyone
            self._seen = self.everyone, len(self._aside), seen
        return seen

    def discovered(self) -> frozenset[Address]:
        return self.everyone

    def get(self, address: Address) -> Member | None:
        if address == self._node.address or address not in self.everyone or address in self._aside:
            return None
        if address not in self._members:
            peer = cast("Any", SimulatedPeer(self._node, address))
            self._members[address] = Member(address, peer, own_id=self._own_id, on_change=self._changed)
        return self._members[address]

    def available(self) -> list[Member]:
        found = [self.get(address) for address in self.addresses()]
        return [member for member in found if member is not None]

    def _changed(self, member: Member) -> None:
        if not member.is_available:
            self._aside.add(member.address)
