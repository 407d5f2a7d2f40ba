"""Streams between simulated nodes, in steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.doors import Doors, OwnPorts
from registryd.cluster.fetch.opening import DoorTimeouts
from registryd.content.source import OpenContent
from registryd.transfer.errors import SourceBroken, SourceRefused

if TYPE_CHECKING:
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.oci.ranges import Span
    from registryd.transfer.stripe_board import StripeBoard

    from .node import SimulatedNode


# What containerd writes at a time, of what comes from the origin.
STEP = 1 << 20
# What a node that gets it from another passes on at a time, as agents do (registryd.transfer.inflow).
PASSED = 128 << 10
# Of all nodes' bytes doors.
CONTENT_PORT = 3174
# The same bytes for all: a thousand nodes keep some.
ZEROS = bytes(PASSED)


class SimulatedBody:
    """A stream from one node to another."""

    def __init__(self, source: SimulatedNode, target: SimulatedNode, sought: Sought, span: Span) -> None:
        self._source, self._target, self._sought, self._span = source, target, sought, span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Any) -> None:
        with self._source.uploads.begin():
            await self._send_to(sink)

    async def _send_to(self, sink: Any) -> None:
        offset = self._span.start
        network = self._target.network
        board = self._source.store.inflows.board_of(self._sought.digest)
        while offset < self._span.stop:
            have = await self._wait_beyond(offset, board)
            count = min(PASSED, have - offset)
            await network.carry(count, self._source, self._target)
            if self._source.store.is_dead:
                raise SourceBroken("the source is gone")
            offset += count
            if self._sought.stripe is not None:
                self._target.striped_bytes += count
            await sink.write(ZEROS[:count] if count < PASSED else ZEROS)

    async def _wait_beyond(self, offset: int, board: StripeBoard | None) -> int:
        store, digest, stripe = self._source.store, self._sought.digest, self._sought.stripe
        if stripe is None:
            return await store.wait_beyond(digest, offset)
        return await store.wait_stripe(digest, stripe, offset, board)

    async def aclose(self) -> None:
        pass


class SimulatedOpener:
    """The bytes door of the node that offers."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._doors = Doors(OwnPorts(node.address.port, CONTENT_PORT))

    def unasked(self, member: Member) -> Address | None:
        return self._doors.unasked(member)

    async def open_unasked(self, offer: Offer, span: Span, *, seconds: float) -> SimulatedBody:
        network, address = self._node.network, offer.member.address
        begun = asyncio.get_running_loop().time()
        await network.cross()
        source = network.nodes.get(address)
        if source is None:
            await asyncio.sleep(DoorTimeouts().connect)
            network.count_in_vain()
            self._doors.ask_first(offer.member)
            raise SourceBroken("no connection")
        content = await source.finder.find(offer.sought, beyond=span.start, seconds=seconds)
        await network.cross()
        if content is None or content.available <= span.start:
            network.count_in_vain()
            if asyncio.get_running_loop().time() - begun < seconds:
                self._doors.ask_first(offer.member)
            raise SourceRefused("not so far yet", status=404)
        return SimulatedBody(source, self._node, offer.sought, span)

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        await asyncio.sleep(2 * self._node.network.latency)
        source = self._node.network.nodes.get(offer.member.address)
        if source is None:
            await asyncio.sleep(0.5)
            raise SourceBroken("no connection")
        if offer.available <= span.start:
            raise PeerDeclined("not so far yet")
        body = SimulatedBody(source, self._node, offer.sought, span)
        return OpenContent(offer.content, span, cast("Any", body))
