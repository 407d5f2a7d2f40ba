"""What becomes of a body whose source breaks off, when nobody goes on with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.fetch.continuing import Failover
from registryd.content.asker import AskAgain
from registryd.content.source import ContentNotFound
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken, SourcesExhausted
from registryd.transfer.monitoring.meter import Reading
from registryd.transfer.monitoring.thresholds import HELD_UP_SECONDS
from registryd.transfer.resume import ResumingBody
from tests.fakes.bodies import BrokenBody
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from registryd.cluster.members.offer import Offer
    from registryd.content.source import OpenContent

pytestmark = pytest.mark.looptime

DATA = bytes(range(100))


@pytest.mark.parametrize("reason", [ContentNotFound("nobody has it"), AskAgain(len(DATA))])
async def test_the_receiver_keeps_what_it_got_when_nobody_may_go_on(reason: Exception) -> None:
    lost: list[tuple[object, SourceBroken]] = []

    async def open_other(rest: Span, _: float) -> tuple[Offer, OpenContent]:
        assert rest == Span(7, len(DATA))
        raise reason

    way_on = Failover(cast("Any", "the source"), open_other=open_other, lost=lambda *it: lost.append(it))
    body = ResumingBody(BrokenBody(DATA, breaks_after=7), Span.whole(len(DATA)), way_on.reopen)
    with pytest.raises(SourcesExhausted, match=str(reason)):
        await body.send_to(sink := FakeSink())
    assert sink.data == DATA[:7]
    assert [(source, str(why)) for source, why in lost] == [("the source", "the fake source broke after 7 bytes")]


async def test_a_source_that_is_left_for_another_place_is_not_to_blame() -> None:
    reports: list[object] = []

    believed: list[float] = []

    async def open_other(_: Span, longest: float) -> tuple[Offer, OpenContent]:
        believed.append(longest)
        raise ContentNotFound("nobody has it")

    way_on = Failover(
        cast("Any", "it"), open_other=open_other, lost=lambda *told: reports.append(told), leave=reports.append
    )
    way_on.arrival.begin(Reading(0.0, 5, 0.0))
    await way_on.arrival.look(Reading(8.0, 9, 0.0))
    way_on.arrival.end(Reading(15.0, 9, 0.0))
    way_on.arrival.begin(Reading(18.0, 9, 0.0))  # the next source, which gives nothing either
    await asyncio.sleep(20.0)
    way_on.give_way()
    for _ in range(2):  # the second time, none was found, and so none broke off
        with pytest.raises(SourcesExhausted):
            await way_on.reopen(Span(0, 1), SourceBroken("left"))
    assert not reports
    # For 12 s nothing came from the one that was left. One that broke may have been silent for long.
    assert believed == [pytest.approx(HELD_UP_SECONDS - 12.0), 0.0]


async def test_an_answer_that_does_not_come_counts_as_one_source() -> None:
    async def open_other(_rest: Span, _longest: float) -> tuple[Offer, OpenContent]:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    way_on = Failover(cast("Any", "the source"), open_other=open_other, lost=lambda *_: None)
    with pytest.raises(SourceBroken, match="no other source within"):
        await way_on.reopen(Span(0, 1), SourceBroken("broke"))
