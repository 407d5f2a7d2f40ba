"""A store as a member of the cluster: it answers the questions of other members, and finds content at them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from registryd.agent.bandwidth import Bandwidth
from registryd.agent.blocking import BlocklistKeeper
from registryd.agent.copies import copies_of
from registryd.agent.credentials import make_credentials, make_tickets
from registryd.agent.descriptors import share_of
from registryd.agent.diagnosing import Diagnosing
from registryd.agent.pull_telling import tell_pulls
from registryd.cluster.assembly import ClusterService, CopyAnswer, Joining, LocalFinder, Node, NodeId, Pulls, Zones
from registryd.content.blocked import UnblockedStore
from registryd.content.doubt import Scrubber
from registryd.content.entitled import EntitledStore
from registryd.content.ledger import Ledger
from registryd.content.offered import OfferedStore
from registryd.content.sharing import Receiving, SharedStore
from registryd.serving.peer_bytes import CONNECTION_LIMITS, PeerBytesDoor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from registryd.agent.doors import Doors
    from registryd.agent.hosts_folders import HostsFolders
    from registryd.agent.overview import AgentOverview
    from registryd.aio.scope import Scope
    from registryd.cluster.assembly import ClusterSource
    from registryd.config.agent import Settings
    from registryd.content.entitlement import Entitlement
    from registryd.content.keepable import KeptImage
    from registryd.content.sought import Sought
    from registryd.identity.requester import Requester
    from registryd.identity.ticket import Tickets
    from registryd.notation import Address
    from registryd.observability.metrics import Metrics
    from registryd.oci.digest import Digest
    from registryd.serving.listener import Door
    from registryd.serving.readiness import Readiness
    from registryd.store.choice import NodeStore
    from registryd.upstream.public import PublicRepositories


class Membership:
    """One node's. The doors of peers are given its store, by names, and nothing that could ask on.

    Only they are given what is still arriving in it, which this node is receiving itself.
    """

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        settings: Settings,
        store: NodeStore,
        entitlement: Entitlement,
        *,
        metrics: Metrics,
        readiness: Readiness,
        folders: HostsFolders | None = None,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self._settings = settings
        self.bandwidth = Bandwidth(settings) if bandwidth is None else bandwidth
        self._entitlement = entitlement
        self._metrics = metrics
        self._store = store
        self._zones = Zones()
        self.diagnosing = Diagnosing(
            settings,
            store,
            metrics=metrics,
            readiness=readiness,
            zones=self._zones,
            bandwidth=self.bandwidth,
            folders=folders,
        )
        self.ledger = Ledger(metrics, is_trial=self.diagnosing.is_of_any_trial, pulls=self.diagnosing.pulls)
        self.offered = OfferedStore(store, self.diagnosing.trials, set_aside=store.withdraw)
        self._shared = SharedStore(self.offered, store)
        self._blocking = BlocklistKeeper(settings.images, store)
        self.blocklist = self._blocking.blocklist
        self.copies = copies_of(
            settings.images,
            store,
            background=self.bandwidth.background,
            is_blocked=self._is_blocked,
            metrics=metrics,
        )
        store.inflows.memory.most = settings.peers.receive_buffer

    async def join(self, scope: Scope, doors: Doors, public: PublicRepositories) -> Joined:
        """Answer peers and look for them while the scope lasts. Raises CommandFailed."""
        settings, peers = self._settings, self._settings.peers
        credentials, tickets = await make_credentials(settings, scope, self._metrics), make_tickets(peers)
        look = Scrubber(self._store, withdraw=self.offered.withdraw)
        scope.serve(look.run, name="second look")
        if self._blocking.is_needed:
            scope.serve(self._blocking.run, name="blocklist")
        if self.bandwidth.may_change:
            scope.serve(self.bandwidth.run, name="bandwidth")
        scope.serve(self.diagnosing.pulls.run, name="pull log")
        scope.serve(self.diagnosing.savings.run, name="savings")
        await tell_pulls(settings, self.diagnosing.pulls, scope, doors.stack)
        given = UnblockedStore(EntitledStore(self._shared, self._entitlement), self.blocklist)
        uploads = self.bandwidth.uploads
        pulls = Pulls(Receiving(self._shared), self._store.arrivals.tell)
        finder = LocalFinder(given, growing=self._store, expected=pulls)
        bytes_door = PeerBytesDoor(
            store=given,
            ledger=self.ledger,
            uploads=uploads,
            tickets=tickets,
            transfers=self.diagnosing.transfers,
            still_accepts=credentials.still_accepts,
            nearness_of=self._zones.nearness_of,
            wait_arrival=finder.find,
        )
        opened = await doors.open(
            "peers.content_listen",
            peers.content_listen,
            bytes_door.handle,
            context=None if tickets else credentials.listener_context(),
            limits=CONNECTION_LIMITS,
        )
        node = Node(NodeId.random(), opened.address.port)
        joining = Joining(
            settings,
            node=node,
            credentials=credentials,
            metrics=self._metrics,
            ledger=self.ledger,
            zones=self._zones,
            most_connections=share_of("peers.listen"),
            downloads=self.bandwidth.downloads,
            priority_of=self.bandwidth.background.priority_of,
            copies=self.copies,
        )
        answering = partial(ClusterService, issue_ticket=_issuing(tickets)) if tickets else ClusterService
        service = answering(
            node,
            given,
            remembers_public=public.vouches_for,
            hear_doubt=look.doubt,
            hear_slow=joining.own_pace.left_by,
            finder=finder,
            uploads=uploads,
            on_sent=lambda digest, count, requester: self.ledger.sent_to_peer(
                digest, count, nearness=self._zones.nearness_of(requester.address)
            ),
            told_of=joining.names.answer,
            offered=self.copies.offered if self.copies else lambda _offer: CopyAnswer.REFUSED,
            is_receiving=lambda: bool(self._store.inflows.contents()),
        )
        await joining.answer_peers(doors.stack, service, self.diagnosing.service(node, joining, credentials))
        cluster = joining.find_peers(
            scope,
            doors.stack,
            self._shared,
            store=self._store,
            pulls=pulls,
            is_vital=self._is_vital,
            blocklist=self.blocklist,
        )
        return Joined(joining, opened, cluster, self.diagnosing.overview(node, joining, credentials, self.copies))

    def _is_blocked(self, image: KeptImage) -> bool:
        rules = self.blocklist.rules
        return self.blocklist.has(image.digest) or any(map(rules.matches, (str(image), str(image.name.repository))))

    def _is_vital(self, digest: Digest) -> bool:
        """Whether a pull may end where the cluster does not give it: without an origin, or in a trial."""
        return self._settings.authorization.may_lack_origin or self.diagnosing.is_trial(digest)


def _issuing(tickets: Tickets) -> Callable[[Sought, Requester], str]:
    return lambda sought, requester: tickets.issue(str(sought), requester)


class Joined:
    """A running member, as seen by the agent that runs it and asks the other members through it."""

    def __init__(self, joining: Joining, bytes_door: Door, cluster: ClusterSource, overview: AgentOverview) -> None:
        self.cluster = cluster
        self.overview = overview
        self._joining = joining
        self._bytes_door = bytes_door

    def address(self) -> Address:
        """The address at which peers ask this member."""
        return self._joining.own_address()

    def drain(self, group: asyncio.TaskGroup, seconds: float) -> None:
        """Withdraw from the index nodes, and let running uploads end, in tasks of the group."""
        group.create_task(self._joining.withdraw(), name="withdraw")
        group.create_task(self._bytes_door.drain(seconds), name=f"drain {self._bytes_door.address}")
