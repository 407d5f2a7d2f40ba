"""A simulated node: the real source, locator, index and announcer over a store and links that are made up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from registryd.aio.bound import bounded
from registryd.cluster.announcing import Announcer
from registryd.cluster.coalescing import Coalescing
from registryd.cluster.companions import Companions
from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index.desk import IndexDesk
from registryd.cluster.index.names import NameDesk
from registryd.cluster.index.service import IndexService
from registryd.cluster.index.values import Place
from registryd.cluster.index.view import CurrentView
from registryd.cluster.index_nodes import IndexNodes
from registryd.cluster.locator import Locator
from registryd.cluster.node import Node, NodeId
from registryd.cluster.service import ClusterService
from registryd.cluster.source import ClusterSource
from registryd.content.sharing import Receiving, SharedStore
from registryd.content.source import ContentUnavailable
from registryd.oci.descriptor import OCI_MANIFEST, OCTET_STREAM, Descriptor
from registryd.oci.manifest import Manifest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken

from .network import Link, SimulatedNetwork
from .peers import Roster, shared_ring
from .store import Blob, GrowingSink, SimulatedStore
from .transport import STEP, SimulatedOpener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.cluster.search import Offer
    from registryd.content.source import Content
    from registryd.notation import Address

FIRST_BYTE_TIMEOUT = 3.0
FETCH_WAIT = 15.0
FANOUT_LIMIT = 32
LAYERS_AT_ONCE = 3  # containerd's max_concurrent_downloads


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
        shared = SharedStore(self.store, self.store)
        self.roster = Roster(self, node.id)
        place = partial(Place, self.address, self.zone)
        view = CurrentView(self.roster, place, most=FANOUT_LIMIT)
        desk = IndexDesk(node.id, clock, count_members=lambda: len(Roster.everyone), view=view)
        self.service = ClusterService(node, shared, growing=self.store)
        self.index = IndexService(desk, NameDesk(node.id, clock))
        index = IndexNodes(self.roster, desk, own_place=place, view=view, make_ring=shared_ring)
        self.companions = Companions()
        coalescing = Coalescing(
            index, self.roster, Receiving(shared), fetch_wait=FETCH_WAIT, companions=self.companions
        )
        locator = Locator(self.roster, fanout_limit=FANOUT_LIMIT, coalescing=coalescing)
        self.source = ClusterSource(locator, cast("Any", SimulatedOpener(self)), blame=cast("Any", _NoBlame()))
        assignment = Assignment(shared_ring)
        self.announcer = Announcer(
            self.store, self.roster, desk, own_id=node.id, own_place=place, view=view, assignment=assignment
        )

    def die(self) -> None:
        self._is_alive = False
        self.network.nodes.pop(self.address, None)
        self.store.die()

    # containerd

    async def pull(self, documents: Sequence[Blob], layers: Sequence[Blob]) -> None:
        for blob in documents:
            await self._fetch(blob)
        self.companions.learn(
            Manifest(OCI_MANIFEST, tuple(Descriptor(OCTET_STREAM, blob.digest, blob.size) for blob in layers))
        )
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


class _NoBlame:
    def require_verified(self, content: Content) -> None:
        pass

    def gave(self, offer: Offer, *, from_start: bool) -> None:
        pass
