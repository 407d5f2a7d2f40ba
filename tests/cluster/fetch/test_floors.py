"""A source that gives next to nothing is left, by whichever way it gives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.fetch.opening import Opener
from registryd.cluster.members.offer import Offer
from registryd.content.growing import GrowingContent
from registryd.content.hindrances import Hindrances
from registryd.content.source import Content
from registryd.identity.credentials import NoCredentials
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
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

    It says that it is held up.
    """

    address = Address("192.0.2.1", 3173)

    def __init__(self, *, step: int, pause: float) -> None:
        self.step = step
        self.pause = pause

    async def find(self, wanted: Sought) -> FindAnswer:
        held_up = GrowingContent(wanted.digest, SIZE, None, 2 * MIB, is_held_up=True)
        return FindAnswer(Node(NodeId("n"), 0), said(held_up), busy=False)

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
