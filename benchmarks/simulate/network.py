"""The simulated network: links that carry one step after the other, and calls that take time and may be lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from registryd.cluster.errors import PeerSilent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from registryd.notation import Address

    from .node import SimulatedNode

R = TypeVar("R", bound="Message")

# Frames and headers of a gRPC call on a connection that exists, each way.
OVERHEAD_BYTES = 100
# A request at a bytes door, and an answer without bytes: digest, repository, some headers (transfer.http.fetch).
DOOR_BYTES = 400
# What TCP waits until it sends a lost segment again; a lost message is late by this, and is not lost.
RETRANSMISSION_SECONDS = 0.2


@dataclass
class Link:
    """Carries steps in the order in which they are asked for."""

    bytes_per_second: float
    free_at: float = 0.0
    carried: int = 0

    def reserve(self, count: int, begin: float) -> float:
        """When so many bytes will have passed that may begin then."""
        self.free_at = max(begin, self.free_at) + count / self.bytes_per_second
        self.carried += count
        return self.free_at


def _pass(passed: asyncio.Future[None]) -> None:
    if not passed.done():
        passed.set_result(None)


@dataclass
class Traffic:
    """Control messages of one kind, each way counted."""

    messages: int = 0
    bytes: int = 0


@dataclass
class SimulatedNetwork:
    """Who is there, and what it takes to talk to them."""

    latency: float = 0.0005
    loss: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    zone_bandwidth: float = 0.0  # of the link between zones, bytes a second each way; 0: as good as within one
    nodes: dict[Address, SimulatedNode] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    question_seconds: float = 0.0  # of a node's processor for each question that it answers, one after the other
    _zone_links: dict[str, Link] = field(default_factory=dict)

    async def call(
        self,
        address: Address,
        method: str,
        request: Message,
        *,
        timeout: float,
        ask: Callable[[SimulatedNode], Awaitable[R]],
    ) -> R:
        try:
            async with asyncio.timeout(timeout):
                await self._travel(method, request)
                node = self.nodes.get(address)
                if node is None:
                    await asyncio.Event().wait()
                assert node is not None
                if self.question_seconds:
                    now = asyncio.get_running_loop().time()
                    node.answers_at = max(node.answers_at, now) + self.question_seconds
                    await asyncio.sleep(node.answers_at - now)
                reply = await ask(node)
                await self._travel(method, reply)
                return reply
        except TimeoutError as error:
            raise PeerSilent(f"{address} is silent") from error

    def count_in_vain(self) -> None:
        """Count a request for bytes, and its answer, which brings none. With bytes, it is part of the transfer."""
        traffic = self.traffic.setdefault("door", Traffic())
        traffic.messages += 2
        traffic.bytes += 2 * DOOR_BYTES

    async def cross(self) -> None:
        """What a message takes."""
        late = RETRANSMISSION_SECONDS if self.chance.random() < self.loss else 0.0
        await asyncio.sleep(self.latency + late)

    async def carry(self, count: int, source: Any, target: Any) -> None:
        """Return when the bytes have passed the links of both, and the one between their zones."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        ends = [source.up.reserve(count, now), target.down.reserve(count, now)]
        if self.zone_bandwidth and source.zone != target.zone:
            link = self._zone_links.setdefault(source.zone, Link(self.zone_bandwidth))
            ends.append(link.reserve(count, now))
        passed = loop.create_future()
        timer = loop.call_at(max(ends), _pass, passed)
        try:
            await passed
        finally:
            timer.cancel()

    async def _travel(self, method: str, message: Message) -> None:
        traffic = self.traffic.setdefault(method, Traffic())
        traffic.messages += 1
        traffic.bytes += message.ByteSize() + OVERHEAD_BYTES
        await self.cross()
