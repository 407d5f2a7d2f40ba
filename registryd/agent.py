"""The composition root of `registryd agent`: builds the parts, connects them, starts and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.discovery.choice import choose_discovery
from registryd.cluster.locator import Locator as PeerLocator
from registryd.cluster.members import Members
from registryd.cluster.node import Node, NodeId
from registryd.cluster.opening import Opener
from registryd.cluster.peer import GrpcPeer
from registryd.cluster.server import CannotListen, serve_peers
from registryd.cluster.service import ClusterService
from registryd.cluster.source import ClusterSource
from registryd.content.lookup import Lookup, Origin
from registryd.content.names import NameLookup
from registryd.content.source import ContentUnavailable
from registryd.failures import CommandFailed
from registryd.notation import Address
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
from registryd.version import installed_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.serving.listener import Door, Handler
    from registryd.settings import Settings
    from registryd.store.choice import NodeStore

_log = logging.getLogger(__name__)

# Reads of peers are small or a fallback; what they need to end is a moment.
_PEER_DRAIN_SECONDS: Final = 1.0


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then let transfers end. Raises CommandFailed when it cannot start or go on."""
    stopping = _stop_signal()
    try:
        async with open_agent(settings) as agent:
            await stopping.wait()
            _log.info("stopping")
            await agent.drain(settings.agent.shutdown_timeout)
    except* CommandFailed as failures:
        raise _first(failures) from None
    except* ContentUnavailable as failures:
        raise CommandFailed(f"the store cannot be used: {_first(failures)}") from None
    _log.info("stopped")


class Agent:
    """A running agent, as far as the one who runs it has to do with it."""

    def __init__(self, *, readiness: Readiness, registry: Door, peer_bytes: Door) -> None:
        self._readiness = readiness
        self._doors = (registry, peer_bytes)
        self.registry_address = registry.address

    async def drain(self, seconds: float) -> None:
        """Take no new work and let what runs come to its end, at most so long."""
        self._readiness.lacks("the agent is stopping")
        async with asyncio.TaskGroup() as group:
            for door in self._doors:
                group.create_task(door.drain(seconds), name=f"drain {door.address}")


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent for the length of the block, with every part running. What stops unasked cancels the block.

    Raises CommandFailed or ContentUnavailable, once tasks run within an ExceptionGroup.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        # First, because probes ask while everything else starts.
        readiness = Readiness(metrics)
        admin = AdminDoor(metrics=metrics, not_ready=readiness.missing)
        await _open(stack, "admin.listen", settings.admin.listen, admin.handle)
        store = await stack.enter_async_context(open_store(settings.store))
        # The doors of peers are given the store of this node and nothing that could ask on.
        peer_door = PeerBytesDoor(store=store, metrics=metrics)
        peer_bytes = await _open(stack, "peers.content_listen", settings.peers.content_listen, peer_door.handle)
        cluster = await _join_cluster(stack, settings, store, content_port=peer_bytes.address.port, metrics=metrics)
        locator = _locator(settings, store, cluster)
        registry_door = RegistryDoor(locator=locator, metrics=metrics)
        registry = await _open(stack, "registry.listen", settings.registry.listen, registry_door.handle)
        readiness.watch(store)
        _log_start(settings, registry.address)
        yield Agent(readiness=readiness, registry=registry, peer_bytes=peer_bytes)


async def _join_cluster(
    stack: AsyncExitStack, settings: Settings, store: NodeStore, *, content_port: int, metrics: Metrics
) -> ClusterSource:
    """Answer peers, find out who they are, and be able to ask them."""
    peers = settings.peers
    node = Node(NodeId.random(), content_port)
    members = Members(
        node.id,
        lambda address: GrpcPeer(address, timeout=peers.find_timeout),
        backoff=Backoff(peers.backoff_min, peers.backoff_max),
        greet_limit=peers.fanout_limit,
        report=metrics.peers,
    )
    serving = serve_peers(peers.listen, ClusterService(node, store), drain_timeout=_PEER_DRAIN_SECONDS)
    try:
        port = await stack.enter_async_context(serving)
    except CannotListen as error:
        raise SettingsError("peers.listen", str(error)) from error
    listen = Address(peers.listen.host, port)
    discovery = choose_discovery(settings.discovery, node=node.id, listen=listen, advertise=peers.advertise)
    scope = await stack.enter_async_context(open_scope())
    scope.serve(partial(members.run, discovery), name="members")
    return ClusterSource(PeerLocator(members, fanout_limit=peers.fanout_limit, observer=metrics), Opener())


def _locator(settings: Settings, store: NodeStore, cluster: ClusterSource) -> Locator:
    return Locator(
        lookup=Lookup({Origin.LOCAL: store, Origin.PEER: cluster}),
        names=NameLookup([store, cluster], timeout_seconds=settings.registry.first_byte_timeout),
        policy=ModePolicy(settings.authorization),
        first_byte_timeout_seconds=settings.registry.first_byte_timeout,
    )


async def _open(stack: AsyncExitStack, key: str, address: Address, handle: Handler) -> Door:
    try:
        return await stack.enter_async_context(open_door(handle, address))
    except ListenFailed as error:
        raise SettingsError(key, str(error)) from error


def _log_start(settings: Settings, registry: Address) -> None:
    if settings.peers.insecure:
        _log.warning("peers.insecure is set: whoever reaches this node's peer ports can fetch its images, unencrypted")
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


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process as it always does."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        stopping.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    return stopping


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One of the failures: those that come with it are nearly always its consequences."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
