"""What peers are told of content that has not begun to arrive here, and is going to: in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.fetch.pulls import Pulls
from registryd.cluster.rpc.limits import MAX_WAIT_SECONDS, MAX_WAITS, STORE_TIMEOUT
from registryd.cluster.rpc.local_finder import LocalFinder
from registryd.cluster.rpc.service import ClusterService
from registryd.content.growing import GrowingContent
from registryd.content.source import StoreUnavailable
from registryd.identity.requester import Requester
from registryd.oci.digest import Digest
from registryd.pb.registryd.v1 import cluster_pb2 as pb
from tests.cluster.receiving import MIB, OwnStore, layer, manifest, now
from tests.fakes.entitled import REPOSITORY, given, sought

if TYPE_CHECKING:
    from registryd.content.source import Content

pytestmark = pytest.mark.looptime

PEER = Requester("10.0.0.2")
SIZES = (20 * MIB, 5 * MIB)


class Receiver(OwnStore):
    """What peers wait for, besides."""

    async def wait_grown(self, digest: Digest, *, beyond: int) -> Content:
        while True:
            content = await self.find(digest)
            if not isinstance(content, GrowingContent) or content.available > beyond:
                return content
            await asyncio.sleep(0.01)


class Asking:
    """A node with a pull of which only the manifest is known, and a peer that asks it."""

    def __init__(self) -> None:
        self.own = Receiver()
        self.pulls = Pulls(self.own)
        self.own.tell = self.pulls.arrivals_changed
        store = cast("Any", self.own)
        self.finder = LocalFinder(given(store), growing=store, expected=self.pulls)
        self.service = ClusterService(Node(NodeId("n"), 1), given(store), finder=self.finder)
        self.pulls.learn(sought(Digest.of(b"an image")), manifest(*SIZES))

    async def find(self, *, wait: float = 0.0, number: int = 0, beyond: int = 0) -> pb.Content | None:
        request = pb.FindRequest(
            digest=str(layer(number)),
            wait_milliseconds=int(wait * 1000),
            beyond=beyond,
            repository=str(REPOSITORY),
        )
        reply = await self.service.find(request, PEER)
        return reply.content if reply.HasField("content") else None


async def test_what_is_expected_is_said_to_be_arriving_with_nothing_here() -> None:
    asking = Asking()
    assert await asking.find() == pb.Content(size=SIZES[0], available=0)
    assert await asking.find(number=99) is None
    await asyncio.sleep(2)
    assert await asking.find() is None


async def test_who_waits_is_answered_when_it_has_come() -> None:
    asking = Asking()
    waiting = asyncio.create_task(asking.find(wait=4))
    await asyncio.sleep(1)
    asking.own.begin(layer(1), SIZES[1])
    await asyncio.sleep(0.2)
    asking.own.begin(layer(0), SIZES[0])
    await asyncio.sleep(0.2)
    asking.own.grow(layer(0), 1000)
    assert await waiting == pb.Content(size=SIZES[0], available=1000)
    assert now() == pytest.approx(1.4, abs=0.02)


async def test_what_begins_while_it_is_looked_for_is_not_missed() -> None:
    """Between the look that finds nothing and the wait for the next change."""
    asking = Asking()
    real, begun = asking.pulls.expects, False

    async def expects(digest: Digest) -> GrowingContent | None:
        nonlocal begun
        found = await real(digest)
        if not begun and asking.own.looks > 2:
            begun = True
            asking.own.begin(layer(0), SIZES[0])
            asking.own.grow(layer(0), 1000)
        return found

    asking.pulls.expects = expects  # type: ignore[method-assign]
    assert await asking.find(wait=4) == pb.Content(size=SIZES[0], available=1000)
    assert now() < 0.1


async def test_who_waits_in_vain_hears_how_things_are_then() -> None:
    asking = Asking()
    asking.pulls.asked(layer(0), lines_up=False)
    assert await asking.find(wait=2.5) == pb.Content(size=SIZES[0], available=0)
    assert now() == pytest.approx(2.5, abs=0.01)
    assert await asking.find(wait=600) == pb.Content(size=SIZES[0], available=0)
    assert now() == pytest.approx(2.5 + MAX_WAIT_SECONDS, abs=0.01)


async def test_who_waits_for_what_is_not_wanted_after_all_is_told_so() -> None:
    asking = Asking()
    waiting = asyncio.create_task(asking.find(wait=4))
    await asyncio.sleep(0.5)
    asking.pulls.asked(layer(1), lines_up=True)
    asking.own.begin(layer(1), SIZES[1])
    await asyncio.sleep(2)
    asking.own.commit(layer(1))
    assert await waiting is None
    assert now() == pytest.approx(2.5, abs=0.01)


async def test_more_than_can_wait_are_answered_at_once() -> None:
    asking = Asking()
    waiting = [asyncio.create_task(asking.find(wait=1)) for _ in range(MAX_WAITS)]
    await asyncio.sleep(0.1)
    assert await asking.find(wait=1) == pb.Content(size=SIZES[0], available=0)
    assert now() == pytest.approx(0.1, abs=0.01)
    for task in waiting[::2]:
        task.cancel()
    await asyncio.wait(waiting)
    assert asking.finder._waits == 0
    assert await asking.find(wait=0.2) == pb.Content(size=SIZES[0], available=0)
    assert now() == pytest.approx(1.2, abs=0.01)


async def test_while_containerd_says_nothing_the_answer_is_that_the_store_cannot_say() -> None:
    """Who asks would take silence for the end of this node."""
    asking = Asking()
    real = asking.pulls.expects

    async def expects(digest: Digest) -> GrowingContent | None:
        await asyncio.sleep(3600)
        return await real(digest)

    asking.pulls.expects = expects  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await asking.find()
    assert now() == pytest.approx(STORE_TIMEOUT, abs=0.01)
