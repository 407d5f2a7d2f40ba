"""The parts of an agent, connected, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from registryd.agent.credentials import make_credentials, make_tickets, make_token
from registryd.agent.diagnosing import Diagnosing
from registryd.agent.entitlement import PublicByUpstreamOrPeers
from registryd.agent.joining import Joining
from registryd.agent.node_setup import prepare_token, set_up_node
from registryd.aio.scope import open_scope
from registryd.cluster.node import Node, NodeId
from registryd.cluster.service import ClusterService
from registryd.content.blame import Aftermath
from registryd.content.doubt import SecondLook
from registryd.content.lookup import Lookup, Origin
from registryd.content.names import NameLookup
from registryd.content.sharing import SharedStore
from registryd.content.sound import SoundStore
from registryd.failures import CommandFailed
from registryd.serving.admin import AdminDoor
from registryd.serving.listener import ListenFailed, open_door
from registryd.serving.locating import Locator
from registryd.serving.peer_bytes import PeerBytesDoor
from registryd.serving.policy import ModePolicy
from registryd.serving.readiness import Readiness
from registryd.serving.registry import RegistryDoor
from registryd.settings import SettingsError
from registryd.store.choice import chosen_kind, open_store
from registryd.telemetry import Metrics
from registryd.transfer.uploads import Uploads
from registryd.upstream.anonymous import AnonymousClient
from registryd.upstream.client import open_client
from registryd.upstream.containerd_hosts import ContainerdHosts
from registryd.upstream.endpoint import Site
from registryd.upstream.public import open_public_repositories
from registryd.version import installed_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from ssl import SSLContext

    from registryd.agent.credentials import Credentials
    from registryd.aio.scope import Scope
    from registryd.cluster.source import ClusterSource
    from registryd.content.growing import GrowingSource
    from registryd.content.trial import WithTrials
    from registryd.identity.ticket import Tickets
    from registryd.notation import Address
    from registryd.serving.listener import Door, Handler
    from registryd.serving.policy import PublicWord
    from registryd.serving.transfers import Transfers
    from registryd.settings import Settings
    from registryd.upstream.public import PublicRepositories

_log = logging.getLogger(__name__)


class Agent:
    """A running agent, as far as the one who runs it has to do with it."""

    def __init__(self, *, readiness: Readiness, joining: Joining, registry: Door, peer_bytes: Door) -> None:
        self._readiness = readiness
        self._joining = joining
        self._doors = (registry, peer_bytes)
        self.registry_address = registry.address

    async def drain(self, seconds: float) -> None:
        """Take no new work and let what runs come to its end, at most so long."""
        self._readiness.lacks("the agent is stopping")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._joining.withdraw(), name="withdraw")
            for door in self._doors:
                group.create_task(door.drain(seconds), name=f"drain {door.address}")


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent for the length of the block, with every part running. What stops unasked cancels the block.

    Raises CommandFailed or ContentUnavailable, possibly within an ExceptionGroup.
    """
    async with AsyncExitStack() as stack:
        assembly = _Assembly(settings, stack)
        # First, because probes ask while everything else starts.
        await assembly.open_admin()
        async with open_scope() as scope:
            yield await assembly.assemble(scope)


class _Assembly:
    """The order in which parts are made; the stack takes them apart in reverse."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._metrics = Metrics()
        self._readiness = Readiness(self._metrics)
        self._admin = AdminDoor(metrics=self._metrics, not_ready=self._readiness.missing)

    async def open_admin(self) -> None:
        await self._open_door("admin.listen", self._settings.admin.listen, self._admin.handle)

    async def assemble(self, scope: Scope) -> Agent:
        """Everything else; tasks run in the scope."""
        settings = self._settings
        store = await self._stack.enter_async_context(open_store(settings.store))
        credentials = make_credentials(settings, scope)
        tickets = make_tickets(settings.peers)
        # The doors of peers are given the store of this node and nothing that could ask on; and only they are given
        # what is still arriving in it, which this node's containerd is receiving itself.
        sound = SoundStore(store, set_aside=store.withdraw)
        diagnosing = Diagnosing(settings, store, metrics=self._metrics, readiness=self._readiness)
        offered = diagnosing.with_trials(sound)
        shared = SharedStore(offered, store)
        look = SecondLook(store, withdraw=sound.withdraw)
        scope.serve(look.run, name="second look")
        peers = settings.peers
        uploads = Uploads(most=peers.max_uploads, bytes_per_second=peers.max_upload_rate)
        peer_bytes = await self._give_bytes(shared, uploads, credentials, tickets, diagnosing.transfers)
        public = await self._ask_upstreams()
        node = Node(NodeId.random(), peer_bytes.address.port)
        joining = Joining(settings, node=node, credentials=credentials, metrics=self._metrics)
        service = _service(node, shared, growing=store, tickets=tickets, public=public, look=look, uploads=uploads)
        await joining.answer_peers(self._stack, service, diagnosing.service(node, joining, credentials))
        cluster = joining.find_peers(scope, shared, store)
        if settings.agent.configure_containerd:
            prepare_token(settings.registry)
        registry = await self._open_registry(
            scope, offered, cluster, PublicByUpstreamOrPeers(public, cluster), diagnosing=diagnosing
        )
        if settings.agent.configure_containerd:
            # Last: containerd is sent to a door that is open.
            await set_up_node(settings.registry, registry.address)
        self._admin.show(diagnosing.overview(node, joining, credentials))
        self._readiness.watch(store)
        _log_start(settings, registry.address)
        return Agent(readiness=self._readiness, joining=joining, registry=registry, peer_bytes=peer_bytes)

    async def _give_bytes(
        self,
        store: SharedStore,
        uploads: Uploads,
        credentials: Credentials,
        tickets: Tickets | None,
        transfers: Transfers,
    ) -> Door:
        door = PeerBytesDoor(store=store, metrics=self._metrics, uploads=uploads, tickets=tickets, transfers=transfers)
        context = None if tickets else credentials.listener_context()
        address = self._settings.peers.content_listen
        return await self._open_door("peers.content_listen", address, door.handle, context=context)

    async def _ask_upstreams(self) -> PublicRepositories:
        clock = asyncio.get_running_loop().time
        try:
            client = await self._stack.enter_async_context(open_client(clock=clock))
        except ValueError as error:
            raise CommandFailed(f"the proxy in the environment cannot be used: {error}") from error
        authorization, listen = self._settings.authorization, self._settings.registry.listen
        ourselves = frozenset({Site(listen.host, listen.port), Site("localhost", listen.port)})
        anonymous = AnonymousClient(client, ContainerdHosts(authorization.hosts_dir, ourselves=ourselves))
        patience = authorization.public_timeout
        return await self._stack.enter_async_context(open_public_repositories(anonymous, patience=patience))

    async def _open_registry(
        self,
        scope: Scope,
        store: WithTrials,
        cluster: ClusterSource,
        public: PublicWord,
        *,
        diagnosing: Diagnosing,
    ) -> Door:
        settings = self._settings.registry
        locator = Locator(
            lookup=Lookup({Origin.LOCAL: store, Origin.PEER: cluster}),
            names=NameLookup([store, cluster], timeout_seconds=settings.first_byte_timeout),
            policy=diagnosing.policy(ModePolicy(self._settings.authorization, public)),
            first_byte_timeout_seconds=settings.first_byte_timeout,
        )
        token = make_token(settings.token_file, scope)
        aftermath = Aftermath(store, cluster.blame, scope)
        door = RegistryDoor(
            locator=locator,
            metrics=self._metrics,
            admission=token,
            aftermath=aftermath,
            transfers=diagnosing.transfers,
        )
        return await self._open_door("registry.listen", settings.listen, door.handle)

    async def _open_door(
        self, key: str, address: Address, handle: Handler, *, context: SSLContext | None = None
    ) -> Door:
        try:
            return await self._stack.enter_async_context(open_door(handle, address, ssl=context))
        except ListenFailed as error:
            raise SettingsError(key, str(error)) from error


def _service(  # noqa: PLR0913 - what peers may ask about
    node: Node,
    shared: SharedStore,
    *,
    growing: GrowingSource,
    tickets: Tickets | None,
    public: PublicRepositories,
    look: SecondLook,
    uploads: Uploads,
) -> ClusterService:
    answering = partial(
        ClusterService,
        node,
        shared,
        remembers_public=public.remembers_public,
        hear_doubt=look.doubt,
        growing=growing,
        uploads=uploads,
    )
    return answering() if tickets is None else answering(issue_ticket=tickets.issue)


def _log_start(settings: Settings, registry: Address) -> None:
    _log.info(
        "serving",
        extra={
            "version": installed_version(),
            "registry": str(registry),
            "peers": str(settings.peers.listen),
            "store": chosen_kind(settings.store).value,
            "discovery": settings.discovery.kind.value,
        },
    )
