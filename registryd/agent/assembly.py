"""The parts of an agent, connected, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from registryd.agent.anyone import open_upstreams
from registryd.agent.credentials import make_token
from registryd.agent.doors import Doors, default_registry
from registryd.agent.entitlement import PublicByUpstreamOrPeers
from registryd.agent.hosts_folders import HostsFolders
from registryd.agent.membership import Membership
from registryd.agent.node_setup import prepare_token, set_up_node
from registryd.agent.node_store import choosing_of
from registryd.aio.scope import open_scope
from registryd.content.aftermath import Aftermath
from registryd.content.blocked import Unblocked
from registryd.content.elsewhere import Elsewhere
from registryd.content.entitled import EntitledStore
from registryd.content.entitlement import Entitlement
from registryd.content.lookup import Lookup, Origin
from registryd.content.names import NameLookup
from registryd.content.naming_rules import NamingRules
from registryd.observability.metrics import Metrics
from registryd.oci.platform import Platform, local_architecture
from registryd.serving.admin import BODIES_AT, AdminDoor
from registryd.serving.locating import PathLocator
from registryd.serving.policy import ModePolicy
from registryd.serving.readiness import Readiness
from registryd.serving.referring import KnownReferrers
from registryd.serving.registry import RegistryDoor
from registryd.serving.unblocked import UnblockedOnly
from registryd.store.choice import open_store
from registryd.upstream.public import open_public_repositories
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from registryd.agent.membership import Joined
    from registryd.aio.scope import Scope
    from registryd.cluster.assembly import ClusterSource
    from registryd.config.agent import Settings
    from registryd.notation import Address
    from registryd.serving.listener import Door
    from registryd.store.choice import Choice, NodeStore
    from registryd.upstream.public import PublicRepositories

_log = logging.getLogger(__name__)


class Agent:
    """A running agent, as its caller sees it."""

    def __init__(
        self, *, readiness: Readiness, joined: Joined, registry: Door, wait_other_store: Callable[[], Awaitable[None]]
    ) -> None:
        self._readiness = readiness
        self._joined = joined
        self._registry = registry
        self._wait_other_store = wait_other_store
        self.registry_address = registry.address

    async def wait_outdated(self) -> None:
        """Return when another agent should be opened in its place: a containerd has come to this node."""
        await self._wait_other_store()
        _log.info("a containerd has appeared on this node; the agent serves its content from now on")

    async def drain(self, seconds: float) -> None:
        """Take no new work and let what runs come to its end, at most so long."""
        self._readiness.lacks("the agent is stopping")
        async with asyncio.TaskGroup() as group:
            self._joined.drain(group, seconds)
            group.create_task(self._registry.drain(seconds), name=f"drain {self._registry.address}")


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent for the length of the block, with every part running. A part that stops unasked cancels the block.

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
        self._rules = NamingRules(settings.authorization)
        self._stack = stack
        self._doors = Doors(stack)
        self._metrics = Metrics()
        self._readiness = Readiness(self._metrics)
        self._admin = AdminDoor(metrics=self._metrics, not_ready=self._readiness.missing)
        self._folders = HostsFolders(settings)

    async def open_admin(self) -> None:
        await self._doors.open("admin.listen", self._settings.admin.listen, self._admin.handle, bodies_at=BODIES_AT)

    async def assemble(self, scope: Scope) -> Agent:
        """Build all other parts; their tasks run in the scope."""
        settings = self._settings
        choosing = choosing_of(settings)
        choice = choosing.now()
        store = await self._stack.enter_async_context(
            open_store(settings.store, choice, search_seconds=settings.registry.first_byte_timeout)
        )
        public = await self._ask_upstreams()
        entitlement = Entitlement(self._rules, public.vouches_for)
        membership = Membership(
            settings, store, entitlement, metrics=self._metrics, readiness=self._readiness, folders=self._folders
        )
        joined = await membership.join(scope, self._doors, public)
        if settings.agent.configure_containerd:
            prepare_token(settings.registry)
        registry = await self._open_registry(scope, store, membership, joined.cluster, public)
        if settings.agent.configure_containerd:
            # Last: containerd is sent to a door that is open.
            await set_up_node(settings, registry.address, scope)
        if store.newcomers is not None:
            scope.serve(Elsewhere(store.newcomers, membership.ledger).run, name="account")
        self._admin.show(joined.overview)
        self._readiness.watch(store)
        self._metrics.follow_images(store.count_images)
        _log_start(settings, registry.address, choice)
        return Agent(
            readiness=self._readiness,
            joined=joined,
            registry=registry,
            wait_other_store=partial(choosing.wait_other, choice),
        )

    async def _ask_upstreams(self) -> PublicRepositories:
        upstreams = await self._stack.enter_async_context(open_upstreams(self._settings, self._folders))
        patience = self._settings.authorization.public_timeout
        return await self._stack.enter_async_context(open_public_repositories(upstreams, patience=patience))

    async def _open_registry(
        self,
        scope: Scope,
        store: NodeStore,
        membership: Membership,
        cluster: ClusterSource,
        public: PublicRepositories,
    ) -> Door:
        settings, diagnosing, blocklist = self._settings.registry, membership.diagnosing, membership.blocklist
        own = EntitledStore(membership.offered, Entitlement(self._rules, public.remembers_public), missed=store.asked)
        given = Unblocked(own, blocklist)
        lookup = Lookup({Origin.LOCAL: given, Origin.PEER: Unblocked(cluster, blocklist)})
        names = NameLookup([given, cluster], timeout_seconds=settings.first_byte_timeout)
        by_mode = ModePolicy(self._rules, PublicByUpstreamOrPeers(public, cluster))
        policy = UnblockedOnly(diagnosing.policy(by_mode), blocklist)
        seek = partial(
            PathLocator,
            names=names,
            policy=policy,
            first_byte_timeout_seconds=settings.first_byte_timeout,
            platforms=(Platform("linux", local_architecture()),),
        )
        token = make_token("registry.token_file", settings.token_file, scope)
        aftermath = Aftermath(
            membership.offered,
            cluster.blame,
            scope,
            is_trial=diagnosing.is_trial,
            would_have=store.would_have,
            ingest_of=store.ingest_of,
        )
        door = RegistryDoor(
            locator=seek(lookup=lookup),
            local=seek(lookup=Lookup({Origin.LOCAL: given})),
            default=default_registry(settings),
            lists=KnownReferrers(
                lookup=lookup, names=names, policy=policy, first_byte_timeout_seconds=settings.first_byte_timeout
            ),
            metrics=self._metrics,
            ledger=membership.ledger,
            admission=token,
            aftermath=aftermath,
            transfers=diagnosing.transfers,
            sure=store.inflows.sure,
            background=membership.bandwidth.background,
        )
        return await self._doors.open("registry.listen", settings.listen, door.handle)


def _log_start(settings: Settings, registry: Address, choice: Choice) -> None:
    _log.info(
        "serving",
        extra={
            "version": VERSION,
            "registry": str(registry),
            "peers": str(settings.peers.listen),
            "store": choice.kind.value,
            "discovery": settings.discovery.kind.value,
        },
    )
