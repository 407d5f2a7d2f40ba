"""Becoming a member: peers are answered, found, and can be asked.

The one module of the cluster that an agent imports: what it needs of the rooms is named here.
"""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff
from registryd.cluster.contract.copies import CopyAnswer
from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.view import ClusterView, Flow, Hour, image_key, image_keys, image_names, label_of
from registryd.cluster.copies.joining import Copies
from registryd.cluster.diagnosis.checkup import Checkup
from registryd.cluster.diagnosis.service import DiagnosisService
from registryd.cluster.diagnosis.values import Examination, Vitals
from registryd.cluster.fetch.coalescing import FetchCoordinator
from registryd.cluster.fetch.doors import Doors, OwnPorts
from registryd.cluster.fetch.fallback import Doubts
from registryd.cluster.fetch.fetching import Fetcher
from registryd.cluster.fetch.intakes import Intakes
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.fetch.own_manifests import OwnManifests
from registryd.cluster.fetch.pulls import Pulls
from registryd.cluster.fetch.source import ClusterSource
from registryd.cluster.health.attribution import DeliveryAttribution
from registryd.cluster.health.own_pace import OwnPace
from registryd.cluster.index.desk import IndexState
from registryd.cluster.index.names import NameIndexState
from registryd.cluster.index.speakers import Speakers
from registryd.cluster.index.view import CurrentView
from registryd.cluster.index_client.announcing import Announcer
from registryd.cluster.index_client.companions import LayerSchedule
from registryd.cluster.index_client.index_nodes import IndexNodes
from registryd.cluster.index_client.name_search import NameIndex
from registryd.cluster.index_client.telling_names import announce_names
from registryd.cluster.members.discovery.choice import choose_discovery
from registryd.cluster.members.heartbeat import Heartbeat
from registryd.cluster.members.own_place import OwnPlace
from registryd.cluster.members.roster import Members
from registryd.cluster.members.zones import Zones
from registryd.cluster.rpc.index_service import IndexService
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.cluster.rpc.queueing import accepts_connections, queue_seconds
from registryd.cluster.rpc.server import CannotListen, serve_peers
from registryd.cluster.rpc.service import ClusterService
from registryd.config.agent import PeerTransport, SettingsError
from registryd.content.sharing import Receiving
from registryd.notation import Address
from registryd.transfer.http.pool import ConnectionPool
from registryd.transfer.slots import SlotMemory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from registryd.aio.scope import Job, Scope
    from registryd.config.agent import Settings
    from registryd.content.blocked import Blocklist
    from registryd.content.ledger import Ledger
    from registryd.content.member_store import MemberStore
    from registryd.content.sharing import SharedStore
    from registryd.content.sought import Sought
    from registryd.identity.credentials import PeerCredentials
    from registryd.observability.metrics import Metrics
    from registryd.oci.digest import Digest
    from registryd.oci.manifest import Manifest
    from registryd.transfer.allowance import Allowance, Priority

__all__ = [
    "Checkup",
    "ClusterService",
    "ClusterSource",
    "ClusterView",
    "Copies",
    "CopyAnswer",
    "DiagnosisService",
    "Examination",
    "Flow",
    "Hour",
    "Joining",
    "LocalFinder",
    "Members",
    "Node",
    "NodeId",
    "Pulls",
    "Vitals",
    "Zones",
    "image_key",
    "image_keys",
    "image_names",
    "label_of",
]

# Reads of peers are small or a fallback; what they need to end is a moment.
_DRAIN_SECONDS: Final = 1.0


class Joining:
    """The parts of being a member, made one after the other as each needs what the one before has found out."""

    def __init__(  # noqa: PLR0913 - what all parts are made of, by name
        self,
        settings: Settings,
        *,
        node: Node,
        credentials: PeerCredentials,
        metrics: Metrics,
        ledger: Ledger,
        zones: Zones,
        most_connections: int,
        downloads: Allowance,
        priority_of: Callable[[Sought], Priority],
        copies: Copies | None = None,
    ) -> None:
        """`zones` learns from discovery which nodes are near; peers may have `most_connections` at once.

        Bytes from peers count in `downloads`, each with a priority. `copies` are the copies that this node keeps.
        """
        self._most_connections = most_connections
        self.copies = copies
        peers = self._peers = settings.peers
        self._zones = zones
        self._settings = settings
        self._node = node
        self._credentials = credentials
        self._metrics = metrics
        self._ledger = ledger
        self._downloads = downloads
        self._priority_of = priority_of
        self.members = Members(
            node.id,
            lambda address: GrpcPeer(
                address,
                timeout=peers.find_timeout,
                credentials=credentials,
                on_received=ledger.received_from_peer,
                queue=self._queue_seconds,
            ),
            backoff=Backoff(peers.backoff_min, peers.backoff_max),
            greet_limit=peers.fanout_limit,
            report=metrics.peers,
        )
        self.own_pace = OwnPace()
        self.names = NameIndexState(node.id, asyncio.get_running_loop().time)
        self._listen = peers.listen
        self._announcers: tuple[Announcer, ...] = ()
        self._place: OwnPlace | None = None
        self._view = CurrentView(self.members, self._own_place, most=peers.fanout_limit)
        self._desk = IndexState(
            node.id,
            asyncio.get_running_loop().time,
            count_members=lambda: len(self.members.addresses()),
            view=self._view,
            stripes_from=peers.stripes_from,
        )

        self._speakers = Speakers(self.members.discovered, asyncio.get_running_loop().time)

    def _own_ports(self) -> OwnPorts | None:
        """None where doors ask for tickets, which a member gives when it is asked what it has."""
        peers = self._peers
        asks_for_tickets = peers.has_credentials and peers.transport is PeerTransport.PLAIN
        return None if asks_for_tickets else OwnPorts(self._listen.port, self._node.content_port)

    def own_address(self) -> Address:
        """The address at which peers find this node's gRPC."""
        return self._place().address if self._place else self._listen

    def _queue_seconds(self) -> float:
        return queue_seconds(len(self.members.discovered()))

    def _own_place(self) -> NodeLocation:
        return self._place() if self._place else NodeLocation(self._listen)

    async def answer_peers(self, stack: AsyncExitStack, service: ClusterService, diagnosis: DiagnosisService) -> None:
        """Let peers ask until the stack is unwound. Raises SettingsError."""
        serving = serve_peers(
            self._peers.listen,
            service,
            credentials=self._credentials,
            index=IndexService(self._desk, self.names, self._speakers),
            diagnosis=diagnosis,
            on_contact=lambda requester: self.members.sign_of_life(requester.address),
            drain_timeout=_DRAIN_SECONDS,
            most_connections=self._most_connections,
        )
        try:
            self._listen = Address(self._peers.listen.host, await stack.enter_async_context(serving))
        except CannotListen as error:
            raise SettingsError("peers.listen", str(error)) from error

    def _zone_at(self, address: Address) -> str:
        place = self._own_place()
        return place.zone if address == place.address else self._zones.at(address.host)

    async def withdraw(self) -> None:
        """Ask the index nodes to name this node no more."""
        if self.copies:
            self.copies.stop()
        async with asyncio.TaskGroup() as group:
            for announcer in self._announcers:
                group.create_task(announcer.withdraw(), name="withdraw")

    def find_peers(  # noqa: PLR0913 - the parts of the node, all named
        self,
        scope: Scope,
        stack: AsyncExitStack,
        shared: SharedStore,
        *,
        store: MemberStore,
        pulls: Pulls,
        is_vital: Callable[[Digest], bool],
        blocklist: Blocklist,
    ) -> ClusterSource:
        """Follow discovery while the scope lasts, and ask and inform the peers that it finds.

        Connections for bytes are kept until the stack is unwound. `shared` is the part of the node's `store` that peers
        see; the agent asks it before each pull, and from then on it knows that the content is on its way. `pulls` are
        the pulls of this node's containerd. The cluster asks all peers for content that `is_vital`, and no peer for
        blocked content.

        Raises SettingsError.
        """
        peers, members, own = self._peers, self.members, Receiving(shared)
        discovery = choose_discovery(
            self._settings.discovery, node=self._node.id, listen=self._listen, advertise=peers.advertise
        )
        scope.serve(partial(members.run, discovery), name="members")
        place = self._place = OwnPlace(
            members,
            listen=self._listen,
            advertise=peers.advertise,
            zone=peers.zone,
            zone_of=discovery.zone_of,
        )
        self._zones.follow(discovery.zone_of, lambda: place().zone)
        scope.serve(Heartbeat(members, lambda: place().address).run, name="heartbeat")
        limit = peers.fanout_limit
        told_of = self.copies.told_with(store) if self.copies else store

        def gives_stripes() -> bool:
            return store.gives_arriving

        content = Announcer(
            told_of,
            members,
            self._desk,
            own_id=self._node.id,
            own_place=place,
            view=self._view,
            gives_stripes=gives_stripes,
        )
        scope.serve(content.run, name="announce")
        naming = announce_names(store, members, self.names, own_id=self._node.id, own_place=place, above=limit)
        scope.serve(naming.run, name="announce names")
        self._announcers = (content, naming)
        index = IndexNodes(
            members,
            self._desk,
            own_place=place,
            view=self._view,
            queue=self._queue_seconds,
            is_there=accepts_connections,
        )
        if self.copies:
            self.copies.join(scope, index, members, lambda: place().address, self._zone_at)
        companions = LayerSchedule()
        coalescing = FetchCoordinator(
            index,
            members,
            own,
            fetch_wait=peers.fetch_wait,
            companions=companions,
            hindrances=self._ledger.pulls.hindrances,
            own_pace=self.own_pace,
            gives_stripes=gives_stripes,
        )
        locator = MemberLocator(
            members,
            fanout_limit=limit,
            coalescing=coalescing,
            doubts=Doubts(is_vital),
            observer=self._metrics,
        )

        def learn(sought: Sought, manifest: Manifest) -> None:
            companions.learn(sought.digest, manifest)
            pulls.learn(sought, manifest, is_first=companions.is_first(sought.digest))

        opener = Opener(
            self._credentials,
            own=own,
            learn=learn,
            kept=stack.enter_context(ConnectionPool()),
            on_received=self._ledger.received_from_peer,
            blocklist=blocklist,
            priority_of=self._priority_of,
            hindrances=self._ledger.pulls.hindrances,
            has_source=locator.has_source,
            doors=Doors(self._own_ports()),
        )
        inflows = store.inflows
        memory = SlotMemory(peers.assembly_buffer)
        blame = DeliveryAttribution(locator, scope)
        # Of the intakes, which are made below.
        fetcher = Fetcher(
            locator,
            opener,
            blame=blame,
            receiving=lambda: intakes.flowing(),  # noqa: PLW0108
            arrived=lambda: inflows.memory.total,
            memory=memory,
            striping=(coalescing, inflows),
            allowance=self._downloads,
            priority_of=self._priority_of,
            hindrances=self._ledger.pulls.hindrances,
        )
        intakes = Intakes(
            fetcher,
            pulls,
            own,
            inflows,
            fetch_wait=peers.fetch_wait,
            run=_apart(scope, "take in"),
            await_manifest=OwnManifests(shared, store, learn).await_arrival,
            asked=store.asked,
        )
        coalescing.mind(intakes.places)
        scope.serve(partial(intakes.run, store.arrivals), name="take in")
        names = NameIndex(index, members, self.names, above=limit)
        return ClusterSource(locator, fetcher, intakes, names=names)


def _apart(scope: Scope, name: str) -> Callable[[Job], asyncio.Task[object]]:
    """Runs tasks of the scope that know nothing of the request in which they are begun."""
    own = contextvars.copy_context()
    return lambda job: scope.run(job, name=name, context=own.copy())
