"""A source that gives next to nothing is left, by whichever way it gives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent, stripe_of
from registryd.content.hindrances import Hindrances
from registryd.content.source import Content
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.thresholds import GROWING_STALL_TIMEOUT
from registryd.transfer.striping import PIECE_BYTES, reach
from tests.fakes.entitled import said, sought
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.content.sought import Sought

pytestmark = pytest.mark.looptime

MIB = 1 << 20
SIZE = 5 * MIB
DIGEST = Digest.of(b"")
WHOLE = Content(DIGEST, SIZE, None)
GROWING = GrowingContent(DIGEST, SIZE, None, 2 * MIB)


class SlowMember:
    """Gives so many bytes at a time by Read, with a pause of so many seconds before each but the first.

    It says that it is held up, unless another thing is said.
    """

    address = Address("192.0.2.1", 3173)

    def __init__(self, *, step: int, pause: float, is_held_up: bool = True) -> None:
        self.step = step
        self.pause = pause
        self.is_held_up = is_held_up

    async def find(self, wanted: Sought) -> FindAnswer:
        content = GrowingContent(wanted.digest, SIZE, None, 2 * MIB, is_held_up=self.is_held_up)
        if wanted.stripe is not None:
            content = stripe_of(content, wanted.stripe, 1)
        return FindAnswer(Node(NodeId("n"), 0), said(content), busy=False)

    async def probe(self, *, again: bool) -> bool:
        """It answers."""
        return again

    async def read(self, _sought: Sought, span: Span, *, is_growing: bool = False) -> AsyncGenerator[bytes, None]:
        for start in range(span.start, span.stop, self.step):
            yield bytes(min(self.step, span.stop - start))
            await asyncio.sleep(self.pause)


async def send(content: Content, member: SlowMember, sink: FakeSink, hindrances: Hindrances | None = None) -> None:
    offer = Offer(cast("Any", member), sought(DIGEST), content, None, busy=False)
    opened = await Opener(NoCredentials(), hindrances=hindrances).open(offer, Span.whole(SIZE))
    try:
        await opened.body.send_to(sink)
    finally:
        await opened.body.aclose()


@pytest.mark.parametrize(("content", "seconds"), [(WHOLE, 5.0), (GROWING, 20.0)], ids=["whole", "growing"])
async def test_a_source_that_gives_a_byte_now_and_then_is_left(content: Content, seconds: float) -> None:
    """It is never silent for long: it could hold a pull up for years."""
    with pytest.raises(SourceBroken, match=f"bytes/s for {seconds:g} s"):
        await send(content, SlowMember(step=1, pause=1.0), FakeSink())
    assert asyncio.get_running_loop().time() == pytest.approx(seconds)


async def test_a_source_that_is_receiving_may_be_as_slow_as_the_steps_of_containerd_allow() -> None:
    await send(GROWING, SlowMember(step=MIB, pause=14.9), sink := FakeSink())
    assert sink.sent == SIZE


async def test_how_long_a_source_was_held_up_is_told() -> None:
    hindrances = Hindrances()
    await send(GROWING, SlowMember(step=2 * MIB, pause=22.5), FakeSink(), hindrances)
    assert hindrances.told([DIGEST]) == ["waited 38.0 s for what 192.0.2.1 fetched"]


# Of a stripe

STRIPE = 2
STRIPE_SIZE = reach(STRIPE, SIZE)


async def send_stripe(member: SlowMember, hindrances: Hindrances | None = None, **parts: Any) -> int:
    wanted = replace(sought(DIGEST), stripe=STRIPE)
    offer = Offer(cast("Any", member), wanted, stripe_of(GROWING, STRIPE, PIECE_BYTES), None, busy=False)
    opened = await Opener(NoCredentials(), hindrances=hindrances, **parts).open(offer, Span.whole(STRIPE_SIZE))
    sink = FakeSink()
    try:
        await opened.body.send_to(sink)
    finally:
        await opened.body.aclose()
    return sink.sent


async def test_a_source_of_a_stripe_that_is_held_up_is_kept_as_long_as_one_of_the_whole() -> None:
    """The floor of a stripe ended it after 20 to 40 s, at all nodes of a wave at the same moment."""
    hindrances = Hindrances()
    assert await send_stripe(SlowMember(step=STRIPE_SIZE // 2, pause=44.0), hindrances) == STRIPE_SIZE
    assert hindrances.told([DIGEST]) == ["waited 41.0 s for what 192.0.2.1 fetched"]
    with pytest.raises(SourceBroken, match="next to nothing for 45 s"):
        await send_stripe(SlowMember(step=STRIPE_SIZE // 2, pause=60.0))


async def test_a_source_of_a_stripe_that_nobody_holds_up_is_left() -> None:
    with pytest.raises(SourceBroken, match="not held up by another node"):
        await send_stripe(SlowMember(step=PIECE_BYTES, pause=60.0, is_held_up=False))
    assert asyncio.get_running_loop().time() == pytest.approx(GROWING_STALL_TIMEOUT, abs=1.0)


async def test_of_a_stripe_it_is_asked_who_gives_that_stripe() -> None:
    asked = []

    async def has_source(wanted: Sought, address: Address) -> bool:
        asked.append((wanted.stripe, address))
        return False

    with pytest.raises(SourceBroken, match="no node gives it anything"):
        await send_stripe(SlowMember(step=PIECE_BYTES, pause=60.0), has_source=has_source)
    assert set(asked) == {(STRIPE, SlowMember.address)}
