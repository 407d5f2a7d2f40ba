"""A simulated node: the real source, locator, index and announcer over a store and links that are made up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

from registryd.aio.bound import bounded
from registryd.cluster.announcing import Announcer
from registryd.cluster.coalescing import Coalescing
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index.desk import IndexDesk
from registryd.cluster.index.messages import (
    announcement_message,
    claim_message,
    receipt_value,
    verdict_value,
)
from registryd.cluster.index.ring import Ring
from registryd.cluster.index.service import IndexService
from registryd.cluster.index.values import Place
from registryd.cluster.index_nodes import IndexNodes
from registryd.cluster.locator import Locator
from registryd.cluster.member import Member
from registryd.cluster.node import Node, NodeId
from registryd.cluster.service import ClusterService
from registryd.cluster.source import ClusterSource
from registryd.cluster.wire import finding
from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.sharing import SharedStore
from registryd.content.source import Content, ContentNotFound, ContentUnavailable, OpenContent
from registryd.identity.requester import Requester
from registryd.oci.ranges import Span
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from registryd.transfer.errors import SourceBroken

from .network import Link, SimulatedNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.index.values import Announcement, Claim, Receipt, Verdict
    from registryd.cluster.peer import Wait
    from registryd.cluster.search import Offer
    from registryd.cluster.wire import Finding
    from registryd.content.source import RangeOf
    from registryd.notation import Address
    from registryd.oci.digest import Digest

STEP = 1 << 20
FIND_TIMEOUT = 1.0
FIRST_BYTE_TIMEOUT = 3.0
FETCH_WAIT = 15.0
FANOUT_LIMIT = 32
LAYERS_AT_ONCE = 3  # containerd's max_concurrent_downloads


class SharedRing(Ring):
    """A ring that many nodes use: what it has worked out for one is there for the others."""

    def __init__(self, addresses: frozenset[Address]) -> None:
        super().__init__(addresses)
        self._known: dict[Digest, list[Address]] = {}

    def index_nodes(self, digest: Digest) -> list[Address]:
        if digest not in self._known:
            self._known[digest] = super().index_nodes(digest)
        return self._known[digest]


shared_ring = lru_cache(maxsize=64)(SharedRing)


@dataclass(frozen=True)
class Blob:
    digest: Digest
    size: int


class SimulatedStore:
    """A containerd: content that is whole, or arrives."""

    def __init__(self) -> None:
        self.sizes: dict[Digest, int] = {}
        self.available: dict[Digest, int] = {}
        self.is_dead = False
        self._waiters: dict[Digest, list[asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()

    def begin(self, blob: Blob) -> None:
        self.sizes[blob.digest] = blob.size
        self.available.setdefault(blob.digest, 0)

    def grow(self, digest: Digest, count: int) -> None:
        self.available[digest] += count
        self._wake(digest)

    def pulled(self) -> None:
        """The image is complete: an event tells of it."""
        self._changed.set()

    def die(self) -> None:
        self.is_dead = True
        for digest in list(self._waiters):
            self._wake(digest)

    async def wait_beyond(self, digest: Digest, offset: int) -> int:
        """How much is there, once it is more; SourceBroken when that will not be."""
        while self.available.get(digest, 0) <= offset and not self.is_dead:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(digest, []).append(waiter)
            await waiter
        if self.is_dead:
            raise SourceBroken("the source is gone")
        return self.available[digest]

    def _wake(self, digest: Digest) -> None:
        for waiter in self._waiters.pop(digest, ()):
            if not waiter.done():
                waiter.set_result(None)

    # What the real code asks

    async def find(self, digest: Digest) -> Content:
        if digest in self.sizes and self.available[digest] == self.sizes[digest]:
            return Content(digest, self.sizes[digest], None)
        raise ContentNotFound("not here")

    async def growing(self, digest: Digest) -> GrowingContent:
        if digest not in self.sizes or self.available[digest] == self.sizes[digest]:
            raise ContentNotFound("not arriving")
        return GrowingContent(digest, self.sizes[digest], None, self.available[digest])

    async def wait_grown(self, digest: Digest, *, beyond: int) -> GrowingContent:
        size = self.sizes[digest]
        available = await self.wait_beyond(digest, min(beyond, size - 1))
        return GrowingContent(digest, size, None, available)

    async def open(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise NotImplementedError

    async def open_growing(self, digest: Digest, wanted: RangeOf) -> OpenContent:
        raise NotImplementedError

    async def resolve(self, name: object) -> Sequence[Any]:
        return ()

    async def digests(self) -> frozenset[Digest]:
        return frozenset(digest for digest, size in self.sizes.items() if self.available[digest] == size)

    async def wait_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()


@dataclass
class Origin:
    """The registry: one link, everything there."""

    up: Link
    zone: str = ""
    requests: int = 0


class SimulatedNode:
    """One node, with links of its own."""

    def __init__(
        self, address: Address, network: SimulatedNetwork, origin: Origin, *, bandwidth: float, zone: str = ""
    ) -> None:
        self.address = address
        self.zone = zone
        self.up, self.down = Link(bandwidth), Link(bandwidth)
        self.store = SimulatedStore()
        self.network = network
        self.origin = origin
        self.lookups = 0
        self.done_at: float | None = None
        self._is_alive = True
        self._assemble(asyncio.get_running_loop().time)

    def _assemble(self, clock: Any) -> None:
        node = Node(NodeId.random(), 3174)
        desk = IndexDesk(node.id, clock, count_members=lambda: len(Roster.everyone))
        shared = SharedStore(self.store, self.store)
        self.roster = Roster(self, node.id)
        self.service = ClusterService(node, shared, growing=self.store)
        self.index = IndexService(desk)
        place = partial(Place, self.address, self.zone)
        index = IndexNodes(self.roster, desk, own_place=place, make_ring=shared_ring)
        coalescing = Coalescing(index, self.roster, shared, fetch_wait=FETCH_WAIT)
        locator = Locator(self.roster, fanout_limit=FANOUT_LIMIT, coalescing=coalescing)
        self.source = ClusterSource(locator, cast("Any", SimulatedOpener(self)), blame=cast("Any", _NoBlame()))
        assignment = Assignment(shared_ring)
        self.announcer = Announcer(
            self.store, self.roster, desk, own_place=place, above=FANOUT_LIMIT, assignment=assignment
        )

    def die(self) -> None:
        self._is_alive = False
        self.network.nodes.pop(self.address, None)
        self.store.die()

    # containerd

    async def pull(self, documents: Sequence[Blob], layers: Sequence[Blob]) -> None:
        for blob in documents:
            await self._fetch(blob)
        slots = asyncio.Semaphore(LAYERS_AT_ONCE)

        async def fetch_layer(blob: Blob) -> None:
            async with slots:
                await self._fetch(blob)

        async with asyncio.TaskGroup() as group:
            for blob in layers:
                group.create_task(fetch_layer(blob))
        self.done_at = asyncio.get_running_loop().time()
        self.store.pulled()

    async def _fetch(self, blob: Blob) -> None:
        """As containerd does: the mirror first, the origin for what it does not give, at the byte that was reached."""
        self.store.begin(blob)
        while (start := self.store.available[blob.digest]) < blob.size:
            self.lookups += 1
            sink = GrowingSink(self.store, blob.digest)
            try:
                async with bounded(FIRST_BYTE_TIMEOUT):
                    opened = await self.source.open(blob.digest, lambda size: Span(start, size))
            except (ContentUnavailable, TimeoutError):
                await self._fetch_from_origin(blob, start)
                continue
            with suppress(SourceBroken):
                await opened.body.send_to(cast("Any", sink))
            await opened.body.aclose()

    async def _fetch_from_origin(self, blob: Blob, start: int) -> None:
        self.origin.requests += 1
        while start < blob.size:
            count = min(STEP, blob.size - start)
            await self.network.carry(count, self.origin, self)
            start += count
            self.store.grow(blob.digest, count)


class GrowingSink:
    """What arrives goes into the store."""

    def __init__(self, store: SimulatedStore, digest: Digest) -> None:
        self._store = store
        self._digest = digest
        self._sent = 0

    @property
    def fd(self) -> None:
        return None

    @property
    def sent(self) -> int:
        return self._sent

    @sent.setter
    def sent(self, count: int) -> None:
        added, self._sent = count - self._sent, count
        if added:
            self._store.grow(self._digest, added)


class SimulatedBody:
    """A stream from one node to another."""

    def __init__(self, source: SimulatedNode, target: SimulatedNode, digest: Digest, span: Span) -> None:
        self._source, self._target, self._digest, self._span = source, target, digest, span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Any) -> None:
        offset = self._span.start
        network = self._target.network
        while offset < self._span.stop:
            have = await self._source.store.wait_beyond(self._digest, offset)
            count = min(STEP, have - offset)
            await network.carry(count, self._source, self._target)
            if self._source.store.is_dead:
                raise SourceBroken("the source is gone")
            offset += count
            sink.sent += count

    async def aclose(self) -> None:
        pass


class SimulatedOpener:
    """The bytes door of the node that offers."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        await asyncio.sleep(2 * self._node.network.latency)
        source = self._node.network.nodes.get(offer.member.address)
        if source is None:
            await asyncio.sleep(0.5)
            raise SourceBroken("no connection")
        if offer.available <= span.start:
            raise PeerDeclined("not so far yet")
        body = SimulatedBody(source, self._node, offer.content.digest, span)
        return OpenContent(offer.content, span, cast("Any", body))


class SimulatedPeer:
    """The real messages, over the simulated network."""

    def __init__(self, asker: SimulatedNode, address: Address) -> None:
        self._network = asker.network
        self._requester = Requester(asker.address.host)
        self._address = address

    async def find(self, digest: Digest, wait: Wait | None = None) -> Finding:
        request = pb.FindRequest(digest=str(digest))
        if wait is not None:
            request.wait_milliseconds, request.beyond = int(wait.seconds * 1000), wait.beyond
        reply = await self._network.call(
            self._address,
            "find",
            request,
            timeout=FIND_TIMEOUT + (wait.seconds if wait else 0),
            ask=lambda node: node.service.find(request, self._requester),
        )
        return finding(reply, digest)

    async def claim(self, claim: Claim) -> Verdict:
        request = claim_message(claim)
        reply = await self._network.call(
            self._address,
            "claim",
            request,
            timeout=FIND_TIMEOUT,
            ask=lambda node: node.index.claim(request, self._requester),
        )
        return verdict_value(reply)

    async def announce(self, announcement: Announcement) -> Receipt:
        request = announcement_message(announcement)
        reply = await self._network.call(
            self._address,
            "announce",
            request,
            timeout=FIND_TIMEOUT,
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


class _NoBlame:
    def gave(self, offer: Offer, *, from_start: bool) -> None:
        pass


assert NotArrived  # raised by stores that can be read at an offset; here the opener says so
