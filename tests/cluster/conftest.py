from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from registryd.aio.backoff import Backoff
from registryd.aio.scope import open_scope
from registryd.cluster.contract.node import NodeId
from registryd.cluster.fetch.fetching import Fetcher
from registryd.cluster.fetch.locator import MemberLocator
from registryd.cluster.fetch.opening import DoorTimeouts, Opener
from registryd.cluster.fetch.source import ClusterSource
from registryd.cluster.health.attribution import DeliveryAttribution
from registryd.cluster.members.discovery.static import StaticDiscovery
from registryd.cluster.members.roster import Members
from registryd.cluster.rpc.peer import GrpcPeer
from registryd.content.hindrances import Hindrances
from registryd.identity.credentials import NoCredentials
from tests.fakes.index_nodes import nobody_coordinates
from tests.fakes.peers import FakePeer, FindRecord, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from registryd.cluster.members.member import MemberState
    from registryd.transfer.slots import SlotMemory
    from tests.fakes.entitled import PlainStore

T = TypeVar("T")

# Peers that are well have this long, on machines that are busy, too. Tests in which somebody is silent wait for SHORT.
FIND_TIMEOUT = 20.0
SHORT = 2.0


@dataclass
class Node:
    """A node that asks: its source, and what stands behind it."""

    source: ClusterSource
    members: Members
    record: FindRecord
    hindrances: Hindrances

    def state_of(self, peer: FakePeer) -> MemberState:
        return self.members.states()[peer.address]


class Lab:
    """Starts peers and nodes that ask them; everything ends with the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(self, peer: AbstractAsyncContextManager[T]) -> T:
        return await self._stack.enter_async_context(peer)

    async def good(self, store: PlainStore, **character: Any) -> FakePeer:
        return await self.start(good(store, **character))

    async def node(
        self,
        *peers: FakePeer,
        own_id: NodeId | None = None,
        greets: bool = True,
        find_timeout: float = FIND_TIMEOUT,
        door_timeout: float = FIND_TIMEOUT,
        memory: SlotMemory | None = None,
    ) -> Node:
        """A node that knows these peers. Unless it greets them, it learns about them from its first question."""
        members = Members(
            own_id or NodeId.random(),
            partial(GrpcPeer, timeout=find_timeout, credentials=NoCredentials()),
            backoff=Backoff(first=0.2, longest=0.4, jitter=0),
            greet_limit=32 if greets else 0,
        )
        record = FindRecord()
        locator = MemberLocator(members, fanout_limit=32, coalescing=nobody_coordinates(), observer=record)
        scope = await self._stack.enter_async_context(open_scope())
        discovery = StaticDiscovery(peer.address for peer in peers)
        scope.serve(partial(members.run, discovery), name="members")
        await until(lambda: len(members.states()) == len(peers))
        opener = Opener(NoCredentials(), timeouts=DoorTimeouts(connect=door_timeout, first_byte=door_timeout))
        hindrances = Hindrances()
        fetcher = Fetcher(
            locator,
            opener,
            blame=DeliveryAttribution(locator, scope),
            receiving=tuple,
            memory=memory,
            hindrances=hindrances,
        )
        return Node(ClusterSource(locator, fetcher), members, record, hindrances)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        yield Lab(stack)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another task or thread; the test's own time-out is the bound."""
    while not condition():  # noqa: ASYNC110 - nothing there has an event to offer
        await asyncio.sleep(0.002)
