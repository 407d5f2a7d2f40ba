"""One layer on its way into this node's containerd: in virtual time, with sources that are scripted."""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.fetch.intake import Intake, State, Urgency
from registryd.content.source import ContentNotFound
from registryd.oci.ranges import Span
from registryd.transfer.errors import SinkClosed, SourceBroken
from registryd.transfer.inflow import InflowMemory, Inflows
from tests.cluster.finding import GROWING, NOBODY, WHOLE, Arriving, ScriptedFinder
from tests.cluster.receiving import MIB, OwnStore, layer, now
from tests.fakes.bodies import WitnessedBody
from tests.fakes.entitled import sought
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from registryd.cluster.contract.index import ClaimReply
    from registryd.content.sought import Sought
    from registryd.oci.digest import Digest
    from registryd.transfer.inflow import Inflow

pytestmark = pytest.mark.looptime

LAYER = layer(1)
SIZE = 3 * MIB + 7
DATA = os.urandom(SIZE)
AHEAD, ASKED, PRESSED = Urgency.AHEAD, Urgency.ASKED, Urgency.PRESSED


class Lab:
    """An intake of a layer of which containerd has begun an ingest, and everything around it."""

    def __init__(self, *, memory: int = 64 * MIB) -> None:
        self.inflows = Inflows(InflowMemory(memory))
        self.own = OwnStore(self.inflows)
        self.finder = ScriptedFinder()
        self.is_wanted = True
        self.told: list[State] = []
        self.own.begin(LAYER, SIZE)
        self.intake = Intake(
            sought(LAYER),
            SIZE,
            finder=self.finder,
            inflows=self.inflows,
            own=self.own,
            is_wanted=self._is_wanted,
            tell=lambda: self.told.append(self.intake.state),
        )

    async def _is_wanted(self, digest: Digest) -> bool:
        return self.is_wanted

    @property
    def inflow(self) -> Inflow:
        assert self.intake.inflow is not None
        return self.intake.inflow

    @property
    def urgencies(self) -> list[Urgency]:
        return self.finder.urgencies(LAYER)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Its life; afterwards nothing of it is left."""
        task = asyncio.create_task(self.intake.run())
        task.add_done_callback(lambda _: self.intake.end())  # it may have ended before its first step
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
        self.require_nothing_left()

    def require_nothing_left(self) -> None:
        assert self.inflows.memory.held == 0
        assert not self.inflows.contents()
        assert self.finder.left_open == 0

    async def until(self, state: State) -> None:
        async with asyncio.timeout(200):
            while self.intake.state is not state:
                await self.intake.wait_changed()


def lab(verdict: ClaimReply | None = NOBODY, source: Arriving | None = None, *, memory: int = 64 * MIB) -> Lab:
    made = Lab(memory=memory)
    made.finder.decide = lambda _digest, _urgency: verdict
    if source is not None:
        made.finder.sources[LAYER] = source
    return made


# Who has it


async def test_what_nobody_has_is_this_nodes_to_fetch_and_containerd_is_sent_away_at_once_when_it_asks() -> None:
    one = lab(NOBODY)
    async with one.running() as life:
        await one.until(State.OURS)
        await asyncio.sleep(0.5)
        one.intake.ask(ASKED)
        await life
        assert one.intake.state is State.SENT_AWAY
        assert now() == pytest.approx(0.5, abs=0.01)
        assert one.urgencies == [AHEAD, ASKED]


async def test_who_means_to_fetch_it_looks_once_a_second_whether_another_one_does() -> None:
    one = lab(NOBODY, Arriving(DATA))
    async with one.running():
        await asyncio.sleep(9.5)
        assert one.urgencies == [AHEAD] * 10
        one.finder.decide = lambda _digest, _urgency: GROWING
        await one.until(State.FLOWING)
        assert now() < 11


async def test_what_nobody_has_who_is_asked_by_containerd_is_not_ours_first() -> None:
    one = lab(NOBODY)
    one.intake.ask(ASKED)
    async with one.running() as life:
        await life
        assert (one.intake.state, one.urgencies) == (State.SENT_AWAY, [ASKED])
        assert one.told == [State.SENT_AWAY]


@pytest.mark.parametrize(("urgency", "state"), [(AHEAD, State.OURS), (ASKED, State.SENT_AWAY)])
async def test_without_an_index_node_everyone_is_alone(urgency: Urgency, state: State) -> None:
    one = lab(None)
    one.intake.ask(urgency)
    async with one.running():
        await one.until(state)
        assert one.intake.verdict is None


@pytest.mark.parametrize("urgency", [AHEAD, ASKED])
async def test_what_others_have_all_of_is_left_to_the_request(urgency: Urgency) -> None:
    one = lab(WHOLE)
    one.intake.ask(urgency)
    async with one.running() as life:
        await life
        assert (one.intake.state, one.intake.verdict) == (State.ELSEWHERE, WHOLE)
        assert not one.finder.follows


# Taking it in


async def test_it_is_taken_in_and_kept_until_containerd_has_read_it() -> None:
    one = lab(GROWING, Arriving(DATA))
    async with one.running() as life:
        await one.until(State.FLOWING)
        await asyncio.sleep(5)
        assert one.inflow.is_whole
        assert one.finder.left_open == 0
        assert one.inflows.memory.held == SIZE
        await one.inflow.send(Span.whole(SIZE), sink := FakeSink())
        await life
        assert (bytes(sink.data), one.intake.state) == (DATA, State.OVER)


async def test_it_begins_where_containerd_is() -> None:
    one = lab(GROWING, Arriving(DATA))
    one.own.grow(LAYER, 2 * MIB)
    async with one.running():
        await one.until(State.FLOWING)
        assert one.finder.follows == [(LAYER, 2 * MIB)]
        await one.inflow.send(Span(2 * MIB, SIZE), sink := FakeSink())
        assert sink.data == DATA[2 * MIB :]


async def test_the_last_byte_alone_is_taken_in_and_nothing_of_what_is_all_here() -> None:
    for available, follows in ((SIZE - 1, [(LAYER, SIZE - 1)]), (SIZE, [])):
        one = lab(GROWING, Arriving(DATA))
        one.own.grow(LAYER, available)
        one.intake.ask(ASKED)
        async with one.running() as life:
            if follows:
                await one.until(State.FLOWING)
                await one.inflow.send(Span(SIZE - 1, SIZE), sink := FakeSink())
                assert sink.data == DATA[-1:]
            await life
            assert one.finder.follows == follows


async def test_who_is_at_work_is_asked_again_for_as_long_as_it_takes() -> None:
    one = lab(GROWING, source := Arriving(DATA, come=0))
    one.intake.ask(ASKED)
    async with one.running():
        await asyncio.sleep(61)
        assert len(one.urgencies) == 13
        assert one.intake.heard_at == pytest.approx(60, abs=0.1)
        source.arrive()
        await one.until(State.FLOWING)
        assert now() < 61.1


async def test_a_source_that_must_not_give_what_it_has_is_seen_to_get_more() -> None:
    """Its containerd fetches in chunks."""
    one = lab(GROWING, source := Arriving(DATA, come=0))
    one.intake.ask(ASKED)
    async with one.running():
        await asyncio.sleep(6)
        assert one.intake.moved_at == -math.inf
        source.withheld = MIB
        await asyncio.sleep(5)
        assert one.intake.moved_at == pytest.approx(10, abs=0.1)
        source.withheld += 1000  # hardly anything
        await asyncio.sleep(20)
        assert one.intake.moved_at == pytest.approx(10, abs=0.1)


async def test_a_source_that_lets_nobody_wait_is_not_asked_without_a_pause() -> None:
    """It has too many who wait, or is up to no good."""
    one = lab(GROWING, Arriving(DATA, come=0))
    one.finder.patience = 0
    one.intake.ask(ASKED)
    async with one.running():
        await asyncio.sleep(20)
        assert len(one.urgencies) <= 21


@pytest.mark.parametrize("failure", [ContentNotFound("it has nothing"), SourceBroken("it is gone")])
async def test_sources_that_fail_are_tried_a_few_times(failure: Exception) -> None:
    one = lab(GROWING)
    one.finder.failure = failure
    async with one.running() as life:
        await life
        assert (one.intake.state, len(one.urgencies)) == (State.OVER, 8)


async def test_a_failure_of_ours_is_not_taken_for_a_pressed_request() -> None:
    one = lab(GROWING)
    one.finder.failure = TimeoutError("a bug")
    async with one.running() as life:
        with pytest.raises(TimeoutError, match="a bug"):
            await life


async def test_a_source_that_breaks_leaves_what_came_to_the_reader() -> None:
    one = lab(GROWING, source := Arriving(DATA, come=2 * MIB))
    async with one.running() as life:
        await one.until(State.FLOWING)
        reading = asyncio.create_task(one.inflow.send(Span.whole(SIZE), sink := FakeSink()))
        await asyncio.sleep(1)
        source.break_off()
        with pytest.raises(SourceBroken, match="the source is gone"):
            await reading
        await life
        assert (bytes(sink.data), one.intake.state) == (DATA[: 2 * MIB], State.OVER)


async def test_what_containerd_has_meanwhile_or_does_not_receive_any_more_is_let_go() -> None:
    for end in (OwnStore.commit, OwnStore.give_up):
        one = lab(NOBODY)
        async with one.running() as life:
            await one.until(State.OURS)
            end(one.own, LAYER)
            await life
            assert one.intake.state is State.OVER


# Pressed


async def test_a_request_that_cannot_wait_ends_the_wait_for_others() -> None:
    one = lab(GROWING, Arriving(DATA, come=0))
    one.finder.decide = lambda _digest, urgency: NOBODY if urgency is PRESSED else GROWING
    one.intake.ask(ASKED)
    async with one.running() as life:
        await asyncio.sleep(1)
        one.intake.ask(PRESSED)
        one.intake.ask(PRESSED)  # a second request, at the same moment
        await life
        assert one.intake.state is State.SENT_AWAY
        assert now() == pytest.approx(1, abs=0.01)
        assert one.urgencies == [ASKED, PRESSED]


async def test_two_requests_may_be_pressed_while_the_wait_is_still_ending() -> None:
    one = lab(GROWING, Arriving(DATA, come=0))
    one.finder.decide = lambda _digest, urgency: NOBODY if urgency is PRESSED else GROWING
    real = one.finder.follow

    async def follow(sought: Sought, span: Span, verdict: ClaimReply) -> object:
        try:
            return await real(sought, span, verdict)
        finally:
            await asyncio.sleep(0.1)

    one.finder.follow = follow  # type: ignore[method-assign, assignment]
    one.intake.ask(ASKED)
    async with one.running() as life:
        await asyncio.sleep(1)
        one.intake.ask(PRESSED)
        await asyncio.sleep(0.05)
        one.intake.ask(PRESSED)
        await life
        assert one.intake.state is State.SENT_AWAY


async def test_a_request_that_cannot_wait_is_told_of_though_another_was_just_being_claimed() -> None:
    one = lab(GROWING, Arriving(DATA, come=0))
    one.finder.decide = lambda _digest, urgency: NOBODY if urgency is PRESSED else GROWING
    one.finder.claim_seconds = 1.0
    async with one.running() as life:
        await asyncio.sleep(0.5)
        one.intake.ask(PRESSED)
        await life
        assert (one.intake.state, one.urgencies) == (State.SENT_AWAY, [AHEAD, PRESSED])
        assert not one.finder.follows


async def test_index_nodes_that_do_not_know_what_pressed_means_change_nothing() -> None:
    one = lab(GROWING, Arriving(DATA, come=0))
    one.intake.ask(PRESSED)
    async with one.running() as life:
        await life
        assert (one.intake.state, one.urgencies) == (State.SENT_AWAY, [PRESSED])


# Not wanted


async def test_what_is_not_wanted_any_more_is_not_meant_to_be_fetched_for_ever() -> None:
    one = lab(NOBODY)
    async with one.running() as life:
        await one.until(State.OURS)
        await asyncio.sleep(5)
        one.is_wanted = False
        await life
        assert now() < 7
        assert one.intake.state is State.OVER


async def test_nobody_goes_on_asking_for_what_no_request_waits_for_and_containerd_does_not_want() -> None:
    one = lab(GROWING, Arriving(DATA, come=0))
    one.intake.ask(ASKED)
    one.is_wanted = False
    async with one.running() as life:
        waiting = asyncio.create_task(one.intake.wait_changed())
        await asyncio.sleep(21)
        waiting.cancel()
        assert not life.done()
        await life
        assert now() < 30


@pytest.mark.parametrize("memory", [64 * MIB, MIB])
async def test_what_nobody_reads_is_kept_as_long_as_it_is_wanted(memory: int) -> None:
    """All of it, or as much as there is room for, with the source waiting."""
    one = lab(GROWING, Arriving(DATA), memory=memory)
    async with one.running() as life:
        await one.until(State.FLOWING)
        await asyncio.sleep(600)
        assert one.inflows.memory.held >= min(memory, SIZE)
        one.is_wanted = False
        await life
        assert now() < 661
    assert one.finder.bodies[0].is_closed


@pytest.mark.parametrize("memory", [64 * MIB, MIB])
async def test_what_nobody_reads_is_not_kept_for_ever_though_it_looks_wanted(memory: int) -> None:
    """The ingest of a client that was killed stays for a day: the agent kept 32 MiB for as long."""
    one = lab(GROWING, Arriving(DATA), memory=memory)
    async with one.running() as life:
        await one.until(State.FLOWING)
        await asyncio.sleep(1000)
        async with asyncio.timeout(1):
            with suppress(SinkClosed):
                await one.inflow.send(Span(0, SIZE), FakeSink(closes_after=7))
        await asyncio.sleep(1700)
        assert one.inflows.memory.held
        await life
        assert now() < 2900
    assert one.finder.bodies[0].is_closed


async def test_what_is_being_read_is_not_let_go_however_slow_the_reader_is() -> None:
    one = lab(GROWING, Arriving(DATA), memory=MIB)
    one.is_wanted = False
    async with one.running() as life:
        await one.until(State.FLOWING)
        reading = asyncio.create_task(one.inflow.send(Span.whole(SIZE), sink := Slow()))
        await reading
        await life
        assert sink.data == DATA
        assert now() > 600


class Slow(FakeSink):
    """Takes a piece in a minute."""

    async def write(self, data: bytes | memoryview) -> None:
        await asyncio.sleep(70)
        await super().write(data)


# Given by a request


async def test_a_body_that_is_given_is_taken_in() -> None:
    one = lab()
    one.intake.give(body := WitnessedBody(Arriving(DATA).body(Span(7, SIZE))))
    life = asyncio.create_task(one.intake.take(Span(7, SIZE)))
    await one.until(State.FLOWING)
    await one.intake.release()
    assert not body.is_closed or one.inflow.is_whole
    await one.inflow.send(Span(7, SIZE), sink := FakeSink())
    await life
    assert (bytes(sink.data), one.intake.state, body.is_closed) == (DATA[7:], State.OVER, True)
    one.require_nothing_left()


async def test_a_body_that_was_given_is_closed_by_its_request_if_nobody_has_begun_with_it() -> None:
    one = lab()
    one.intake.give(body := WitnessedBody(Arriving(DATA).body(Span.whole(SIZE))))
    life = asyncio.create_task(one.intake.take(Span.whole(SIZE)))
    await one.intake.release()
    assert body.is_closed
    await life
    assert one.inflows.memory.total == 0
    one.require_nothing_left()


async def test_a_body_that_fails_in_an_unforeseen_way_ends_it_all_the_same() -> None:
    one = lab()
    one.intake.give(body := WitnessedBody(Buggy()))
    with pytest.raises(OSError, match="a bug"):
        await one.intake.take(Span.whole(SIZE))
    assert body.is_closed
    one.require_nothing_left()


class Buggy:
    length = SIZE

    async def send_to(self, sink: object) -> None:
        raise OSError("a bug")

    async def aclose(self) -> None:
        """Nothing is held."""


# Cancelled


async def cancelled_at(one: Lab, reached: Callable[[], bool]) -> None:
    async with one.running():
        async with asyncio.timeout(100):
            while not reached():  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.0001)
        reading = asyncio.create_task(_read_what_flows(one))
        await asyncio.sleep(0)
    await asyncio.wait_for(reading, 1)


async def test_cancelling_leaves_nothing_behind_wherever_it_is() -> None:
    one = lab(GROWING, Arriving(DATA))
    await cancelled_at(one, lambda: True)
    one = lab(GROWING, Arriving(DATA))
    await cancelled_at(one, lambda: bool(one.urgencies))
    one = lab(GROWING, Arriving(DATA, come=0))
    await cancelled_at(one, lambda: bool(one.finder.follows))
    one = lab(GROWING, Arriving(DATA, come=MIB))
    await cancelled_at(one, lambda: one.inflows.memory.held == MIB)
    one = lab(GROWING, Arriving(DATA), memory=MIB)
    await cancelled_at(one, lambda: one.inflows.memory.held >= MIB)
    one = lab(GROWING, Arriving(DATA))
    await cancelled_at(one, lambda: one.inflows.memory.held == SIZE)
    one = lab(NOBODY)
    await cancelled_at(one, lambda: one.intake.state is State.OURS)


async def test_cancelling_at_any_turn_of_the_loop_leaves_nothing_behind() -> None:
    for turns in range(60):
        one = lab(GROWING, Arriving(DATA), memory=MIB)
        async with one.running():
            reading = asyncio.create_task(_read_when_it_flows(one))
            for _ in range(turns):
                await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])


async def _read_when_it_flows(one: Lab) -> None:
    await one.until(State.FLOWING)
    await _read_what_flows(one)


async def _read_what_flows(one: Lab) -> None:
    if one.intake.inflow is None:
        return
    with suppress(SourceBroken):
        await one.inflow.send(Span.whole(SIZE), FakeSink())
