"""Streams between simulated nodes, in steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from registryd.cluster.errors import PeerDeclined
from registryd.content.source import OpenContent
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from registryd.cluster.members.offer import Offer
    from registryd.oci.digest import Digest
    from registryd.oci.ranges import Span

    from .node import SimulatedNode


# What containerd writes at a time, of what comes from the origin.
STEP = 1 << 20
# What a node that gets it from another passes on at a time, as agents do (registryd.transfer.inflow).
PASSED = 128 << 10
# The same bytes for all: a thousand nodes keep some.
ZEROS = bytes(PASSED)


class SimulatedBody:
    """A stream from one node to another."""

    def __init__(self, source: SimulatedNode, target: SimulatedNode, digest: Digest, span: Span) -> None:
        self._source, self._target, self._digest, self._span = source, target, digest, span

    @property
    def length(self) -> int:
        return self._span.length

    async def send_to(self, sink: Any) -> None:
        with self._source.uploads.begin():
            await self._send_to(sink)

    async def _send_to(self, sink: Any) -> None:
        offset = self._span.start
        network = self._target.network
        while offset < self._span.stop:
            have = await self._source.store.wait_beyond(self._digest, offset)
            count = min(PASSED, have - offset)
            await network.carry(count, self._source, self._target)
            if self._source.store.is_dead:
                raise SourceBroken("the source is gone")
            offset += count
            await sink.write(ZEROS[:count] if count < PASSED else ZEROS)

    async def aclose(self) -> None:
        pass


class SimulatedOpener:
    """The bytes door of the node that offers."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    async def open(self, offer: Offer, span: Span) -> OpenContent:
        await asyncio.sleep(2 * self._node.network.latency)
        source = self._node.network.nodes.get(offer.member.address)
        if source is None:
            await asyncio.sleep(0.5)
            raise SourceBroken("no connection")
        if offer.available <= span.start:
            raise PeerDeclined("not so far yet")
        body = SimulatedBody(source, self._node, offer.content.digest, span)
        return OpenContent(offer.content, span, cast("Any", body))
