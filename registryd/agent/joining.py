"""Becoming a member: peers are answered, found, and can be asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.backoff import Backoff
from registryd.cluster.blame import Blame
from registryd.cluster.discovery.choice import choose_discovery
from registryd.cluster.locator import Locator
from registryd.cluster.members import Members
from registryd.cluster.opening import Opener
from registryd.cluster.peer import GrpcPeer
from registryd.cluster.server import CannotListen, serve_peers
from registryd.cluster.source import ClusterSource
from registryd.notation import Address
from registryd.settings import SettingsError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from registryd.agent.credentials import Credentials
    from registryd.aio.scope import Scope
    from registryd.cluster.node import Node
    from registryd.cluster.service import ClusterService
    from registryd.settings import PeersSettings, Settings
    from registryd.telemetry import Metrics

# Reads of peers are small or a fallback; what they need to end is a moment.
_DRAIN_SECONDS: Final = 1.0


async def answer_peers(
    stack: AsyncExitStack, peers: PeersSettings, service: ClusterService, credentials: Credentials
) -> Address:
    """Let peers ask; returns the address with the port that it got. Raises SettingsError."""
    serving = serve_peers(peers.listen, service, credentials=credentials, drain_timeout=_DRAIN_SECONDS)
    try:
        return Address(peers.listen.host, await stack.enter_async_context(serving))
    except CannotListen as error:
        raise SettingsError("peers.listen", str(error)) from error


def find_peers(  # noqa: PLR0913 - the parts that meet here
    scope: Scope, settings: Settings, *, node: Node, listen: Address, credentials: Credentials, metrics: Metrics
) -> ClusterSource:
    """Follow discovery while the scope lasts, and ask whom it finds. Raises SettingsError."""
    peers = settings.peers
    members = Members(
        node.id,
        lambda address: GrpcPeer(address, timeout=peers.find_timeout, credentials=credentials),
        backoff=Backoff(peers.backoff_min, peers.backoff_max),
        greet_limit=peers.fanout_limit,
        report=metrics.peers,
    )
    discovery = choose_discovery(settings.discovery, node=node.id, listen=listen, advertise=peers.advertise)
    scope.serve(partial(members.run, discovery), name="members")
    locator = Locator(members, fanout_limit=peers.fanout_limit, observer=metrics)
    return ClusterSource(locator, Opener(credentials), blame=Blame(locator, scope))
