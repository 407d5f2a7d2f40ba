"""A simulated node: the real source, locator, index and announcer over a store and links that are made up."""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.cluster.fetch.fetching import Fetcher
from registryd.cluster.fetch.intakes import Intakes
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.pulls import Pulls
from registryd.cluster.fetch.source import ClusterSource
from registryd.cluster.health.own_pace import OwnPace
from registryd.cluster.index.assignment import Assignment
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import NameIndexState
from registryd.cluster.index.view import CurrentView
from registryd.cluster.index_client.announcing import Announcer
from registryd.cluster.index_client.companions import LayerSchedule
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.rpc.index_service import IndexService
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.queueing import queue_seconds
from registryd.cluster.rpc.service import ClusterService
from registryd.config.agent import AuthorizationSettings
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.naming_rules import NamingRules
from registryd.content.sharing import Receiving, SharedStore
from registryd.content.sought import Sought
from registryd.oci.descriptor import OCI_MANIFEST, OCTET_STREAM, Descriptor
from registryd.oci.manifest import Manifest
from registryd.transfer.uploads import Uploads

from .containerd import Behaviour, SimulatedContainerd
from .network import Link, SimulatedNetwork
from .peers import Roster, shared_ring
from .store import REPOSITORY, SimulatedStore
from .transport import CONTENT_PORT, STEP, SimulatedOpener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registryd.aio.scope import Job
    from registryd.cluster.members.offer import Offer
    from registryd.content.source import Content
    from registryd.identity.requester import Requester
    from registryd.notation import Address
    from registryd.oci.digest import Digest

    from .store import Blob

FETCH_WAIT = 15.0
FANOUT_LIMIT = 32
STRIPES_FROM = 64  # peers.stripes_from, where a scenario says nothing else
BUFFER_BYTES = 64 << 20  # peers.receive_buffer
_ENTITLEMENT = Entitlement(NamingRules(AuthorizationSettings()), lambda _: False)


class Anyone:
    """Who may speak for others in a simulation, in which nobody makes anything up."""

    async def may_speak(self, _requester: Requester, _host: str) -> bool:
        return True


@dataclass
class Origin:
    """The registry: one link, everything there."""

    up: Link
    zone: str = ""
    first_byte_seconds: float = 0.0
    requests: int = 0


class SimulatedNode:
    """One node, with links of its own."""

    def __init__(  # noqa: PLR0913 - what it is made of, all named
        self,
        address: Address,
        network: SimulatedNetwork,
        origin: Origin,
        *,
        up: float,
        down: float,
        zone: str = "",
        behaviour: Behaviour | None = None,
        chance: Random | None = None,
        stripes_from: int = STRIPES_FROM,
    ) -> None:
        """`up` and `down`: what its link carries each way, in bytes a second."""
        self.address = address
        self.zone = zone
        self.up, self.down = Link(up), Link(down)
        self.store = SimulatedStore()
        self.uploads = Uploads()
        self.network = network
        self.origin = origin
        self.lookups = 0
        self.answers_at = 0.0  # when it has answered all that it has been asked
        self.striped_bytes = 0  # that came in stripes
        self.begun_at = 0.0
        self.done_at: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.containerd = SimulatedContainerd(self, behaviour or Behaviour(), chance or Random(str(address)))
        self._assemble(asyncio.get_running_loop().time, stripes_from)

    def _queue_seconds(self) -> float:
        return queue_seconds(len(Roster.everyone))

    async def _accepts_connections(self, address: Address) -> bool:
        await asyncio.sleep(2 * self.network.latency)
        return address in self.network.nodes

    def _assemble(self, clock: Any, stripes_from: int) -> None:
        node = Node(NodeId.random(), CONTENT_PORT)
        shared = SharedStore(self.store, self.store)
        self.roster = Roster(self, node.id)
        place = partial(NodeLocation, self.address, self.zone)
        view = CurrentView(self.roster, place, most=FANOUT_LIMIT)
        desk = IndexState(
            node.id, clock, count_members=lambda: len(Roster.everyone), view=view, stripes_from=stripes_from
        )
        own = Receiving(shared)
        self.pulls = Pulls(own, self.store.arrivals.tell)
        own_pace = OwnPace()
        given = EntitledStore(shared, _ENTITLEMENT)
        self.finder = LocalFinder(given, growing=self.store, expected=self.pulls)
        self.service = ClusterService(
            node,
            given,
            uploads=self.uploads,
            finder=self.finder,
            hear_slow=own_pace.left_by,
            is_receiving=lambda: bool(self.store.inflows.contents()),
        )
        self.index = IndexService(desk, NameIndexState(node.id, clock), Anyone())
        index = IndexNodes(
            self.roster,
            desk,
            own_place=place,
            view=view,
            make_ring=shared_ring,
            queue=self._queue_seconds,
            is_there=self._accepts_connections,
        )
        self.companions = LayerSchedule()
        coalescing = FetchCoordinator(
            index, self.roster, own, fetch_wait=FETCH_WAIT, companions=self.companions, own_pace=own_pace
        )
        locator = MemberLocator(self.roster, fanout_limit=FANOUT_LIMIT, coalescing=coalescing)
        inflows = self.store.inflows
        inflows.memory.most = BUFFER_BYTES
        opener, blame = cast("Any", SimulatedOpener(self)), cast("Any", _NoBlame())
        fetcher = Fetcher(
            locator,
            opener,
            blame=blame,
            receiving=lambda: self.intakes.flowing(),  # noqa: PLW0108 - which is made below
            arrived=lambda: inflows.memory.total,
            striping=(coalescing, inflows),
        )
        self.intakes = Intakes(fetcher, self.pulls, own, inflows, fetch_wait=FETCH_WAIT, run=self._run_apart)
        coalescing.mind(self.intakes.places)
        self.source = ClusterSource(locator, fetcher, self.intakes)
        assignment = Assignment(shared_ring)
        self.announcer = Announcer(
            self.store,
            self.roster,
            desk,
            own_id=node.id,
            own_place=place,
            view=view,
            assignment=assignment,
            gives_stripes=lambda: True,
        )

    def _run_apart(self, job: Job) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(job(), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        """What the agent does besides answering."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.announcer.run())
            group.create_task(self.intakes.run(self.store.arrivals))

    def die(self) -> None:
        self.network.nodes.pop(self.address, None)
        self.store.die()

    # containerd

    async def pull(self, documents: Sequence[Blob], layers: Sequence[Blob]) -> None:
        self.begun_at = asyncio.get_running_loop().time()
        manifest, *others = documents
        await self.containerd.fetch(manifest)
        children = [Descriptor(OCTET_STREAM, blob.digest, blob.size) for blob in (*others, *layers)]
        self._learn(Sought(manifest.digest, REPOSITORY), Manifest(OCI_MANIFEST, tuple(children)))
        for blob in others:
            await self.containerd.fetch(blob)
        await self.containerd.pull(layers)
        self.done_at = asyncio.get_running_loop().time()
        self.store.pulled()

    def _learn(self, sought: Sought, manifest: Manifest) -> None:
        self.companions.learn(sought.digest, manifest)
        self.pulls.learn(sought, manifest, is_first=self.companions.is_first(sought.digest))

    async def fetch_from_origin(self, blob: Blob) -> None:
        start = self.store.available[blob.digest]
        self.origin.requests += 1
        await asyncio.sleep(self.origin.first_byte_seconds)
        while start < blob.size:
            count = min(STEP, blob.size - start)
            await self.network.carry(count, self.origin, self)
            start += count
            self.store.grow(blob.digest, count)


class _NoBlame:
    def require_verified(self, content: Content) -> None:
        pass

    def may_be_shared_out(self, _digest: Digest) -> bool:
        return True

    def is_tainted(self, _digest: Digest) -> bool:
        return False

    def gave(self, offer: Offer, *, from_start: bool) -> None:
        pass
