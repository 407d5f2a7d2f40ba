"""A source that gives nothing: left when it does not answer, kept when it waits itself. In virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.cluster.contract.node import Node, NodeId
from registryd.cluster.contract.peer import FindAnswer
from registryd.cluster.errors import PeerDeclined, PeerFailed, PeerSilent, PeerUnreachable
from registryd.cluster.health.silence import GoneCheck, StillCheck, StuckCheck
from registryd.cluster.members.member import Member
from registryd.content.growing import GrowingContent
from registryd.content.source import Content, ContentNotFound, ContentUnavailable
from registryd.notation import Address
from registryd.oci.digest import Digest
from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import GROWING_FLOOR, FloorCheck
from registryd.transfer.monitoring.thresholds import (
    GONE_SECONDS,
    GROWING_STALL_TIMEOUT,
    HELD_UP_BYTES,
    HELD_UP_LONGEST_SECONDS,
    HELD_UP_SECONDS,
)
from tests.fakes.entitled import said, sought
from tests.fakes.sinks import FakeSink, StuckSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.content.sought import Sought
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

SIZE = 1000
WANTED = sought(Digest.of(b"a layer"))
HERE = GrowingContent(WANTED.digest, SIZE, None, 400)
HELD_UP = GrowingContent(WANTED.digest, SIZE, None, 400, is_held_up=True)
ANSWER_SECONDS = 1.0
ADDRESS = Address("10.0.0.1", 3173)
NODE = Node(NodeId("n"), 0)


@dataclass
class Source:
    """Answers, or fails with this error after a second; `wakes_at`: does not answer until then."""

    error: PeerFailed | None = None
    wakes_at: float = 0.0
    asked: list[float] = field(default_factory=list)

    async def hello(self) -> Node:
        self.asked.append(now())
        if self.error or now() < self.wakes_at:
            await asyncio.sleep(ANSWER_SECONDS)
            raise self.error or PeerSilent("no answer")
        return NODE


@dataclass
class Receiver:
    """Says this of the content."""

    says: Content | ContentUnavailable

    async def find(self, wanted: Sought, wait: object = None) -> FindAnswer:
        assert (wanted, wait) == (WANTED, None)
        if isinstance(self.says, Content):
            return FindAnswer(NODE, said(self.says), busy=False)
        raise self.says


@dataclass
class PausingBody:
    """Gives a byte, nothing for so many seconds, and the rest."""

    seconds: float
    length: int = SIZE

    async def send_to(self, sink: Sink) -> None:
        await sink.write(b"1")
        await asyncio.sleep(self.seconds)
        await sink.write(bytes(self.length - 1))

    async def aclose(self) -> None:
        """Do nothing."""


def now() -> float:
    return asyncio.get_running_loop().time()


def member_of(source: Source | Receiver) -> Member:
    return Member(ADDRESS, cast("Any", source), own_id=NodeId("own"), on_change=lambda _: None)


def watched(source: Source, *, silent: float) -> MonitoredBody:
    return MonitoredBody(PausingBody(silent), GoneCheck(member_of(source)))


@pytest.mark.parametrize("error", [PeerSilent, PeerUnreachable])
async def test_a_silent_source_that_does_not_answer_is_left_within_seconds(error: Callable[[str], PeerFailed]) -> None:
    source = Source(error("gone"))
    with pytest.raises(SourceBroken, match="does not answer"):
        await watched(source, silent=60).send_to(FakeSink())
    assert GONE_SECONDS <= now() <= GONE_SECONDS + 1 + 2 * ANSWER_SECONDS


async def test_a_silent_source_that_answers_is_kept_and_asked_ever_less_often() -> None:
    source, sink = Source(), FakeSink()
    await watched(source, silent=14).send_to(sink)
    assert sink.sent == SIZE
    pauses = [later - earlier for earlier, later in pairwise(source.asked)]
    assert pauses == pytest.approx([2.0, 4.0, 4.0])


async def test_a_source_that_gives_again_while_it_is_asked_is_kept() -> None:
    source, sink = Source(PeerSilent("much to do")), FakeSink()
    await watched(source, silent=GONE_SECONDS + ANSWER_SECONDS).send_to(sink)
    assert sink.sent == SIZE
    assert source.asked


async def test_one_answer_that_is_late_is_not_the_end() -> None:
    source, sink = Source(wakes_at=GONE_SECONDS + ANSWER_SECONDS), FakeSink()
    await watched(source, silent=12).send_to(sink)
    assert sink.sent == SIZE
    assert len(source.asked) > 1


async def test_a_source_that_gives_is_not_asked() -> None:
    source = Source(PeerSilent("gone"))
    await watched(source, silent=GONE_SECONDS - 1).send_to(FakeSink())
    assert not source.asked


async def test_a_receiver_that_takes_nothing_is_not_the_sources_silence() -> None:
    source = Source(PeerSilent("gone"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await watched(source, silent=0).send_to(StuckSink())
    assert not source.asked


async def test_one_that_nobody_is_above_is_left_for_its_silence_alone() -> None:
    with pytest.raises(SourceBroken, match="nothing for 15 s"):
        await MonitoredBody(PausingBody(60), StillCheck(15)).send_to(FakeSink())
    assert 15 <= now() <= 16
    await MonitoredBody(PausingBody(14), StillCheck(15)).send_to(FakeSink())
    assert now() <= 31


# Stuck


@dataclass
class HaltingBody:
    """Gives these parts, each after so many seconds."""

    parts: tuple[tuple[float, int], ...]

    @property
    def length(self) -> int:
        return sum(count for _, count in self.parts)

    async def send_to(self, sink: Sink) -> None:
        for seconds, count in self.parts:
            await asyncio.sleep(seconds)
            await sink.write(bytes(count))

    async def aclose(self) -> None:
        """Do nothing."""


def followed(
    source: Receiver,
    *parts: tuple[float, int],
    has_source: Callable[[], bool] = lambda: True,
    step_bytes: int = HELD_UP_BYTES,
) -> MonitoredBody:
    async def index_says(wanted: Sought, address: Address) -> bool:
        assert (wanted, address) == (WANTED, ADDRESS)
        return has_source()

    stuck = StuckCheck(member_of(source), WANTED, has_source=index_says, step_bytes=step_bytes)
    return MonitoredBody(HaltingBody(parts), FloorCheck(GROWING_FLOOR, stuck), stuck)


@pytest.mark.parametrize(
    "says", [HERE, Content(WANTED.digest, SIZE, None), ContentNotFound("its receiver has got nothing for 15 s")]
)
async def test_a_silent_source_that_nobody_holds_up_is_left(says: Content | ContentNotFound) -> None:
    with pytest.raises(SourceBroken, match="nothing for 15 s"):
        await followed(Receiver(says), (0, HELD_UP_BYTES), (60, 1)).send_to(FakeSink())
    assert GROWING_STALL_TIMEOUT <= now() <= GROWING_STALL_TIMEOUT + 1


async def test_a_source_that_is_held_up_itself_is_followed_on() -> None:
    sink = FakeSink()
    await followed(Receiver(HELD_UP), (0, HELD_UP_BYTES), (40, HELD_UP_BYTES), (40, 1)).send_to(sink)
    assert sink.sent == 2 * HELD_UP_BYTES + 1


async def test_one_of_a_stripe_is_believed_again_after_an_eighth_of_that() -> None:
    step = HELD_UP_BYTES // 8
    parts = (0, HELD_UP_BYTES), (40, step), (40, 1)
    await followed(Receiver(HELD_UP), *parts, step_bytes=step).send_to(sink := FakeSink())
    assert sink.sent == HELD_UP_BYTES + step + 1
    with pytest.raises(SourceBroken, match="next to nothing"):
        await followed(Receiver(HELD_UP), *parts).send_to(FakeSink())


async def test_a_source_that_is_not_held_up_any_more_and_gives_nothing_is_left() -> None:
    source = Receiver(HELD_UP)

    async def has_no_excuse() -> None:
        await asyncio.sleep(25)
        source.says = HERE

    async with asyncio.TaskGroup() as group:
        group.create_task(has_no_excuse())
        with pytest.raises(SourceBroken, match="not held up by another node"):
            await followed(source, (0, HELD_UP_BYTES), (60, 1)).send_to(FakeSink())
    assert 25 <= now() <= 30


async def test_one_to_which_no_node_gives_anything_is_believed_for_as_long_as_a_fetch_takes_to_begin() -> None:
    """It gets it from the origin, or lies: only those right below it look elsewhere then."""
    sink = FakeSink()
    await followed(Receiver(HELD_UP), (0, HELD_UP_BYTES), (28, 1), has_source=lambda: False).send_to(sink)
    assert sink.sent == HELD_UP_BYTES + 1
    with pytest.raises(SourceBroken, match="no node gives it anything"):
        await followed(Receiver(HELD_UP), (0, HELD_UP_BYTES), (60, 1), has_source=lambda: False).send_to(sink)
    assert 28 + 2 * GROWING_STALL_TIMEOUT <= now() <= 28 + 2 * GROWING_STALL_TIMEOUT + 5


async def test_one_that_has_just_lost_its_source_is_given_as_long() -> None:
    """When a liar is left, those further down see that at the same moment."""
    sink = FakeSink()
    body = followed(Receiver(HELD_UP), (0, HELD_UP_BYTES), (42, 1), has_source=lambda: now() < 32)
    await body.send_to(sink)
    assert sink.sent == HELD_UP_BYTES + 1


async def test_it_is_not_believed_for_ever() -> None:
    with pytest.raises(SourceBroken, match=f"next to nothing for {HELD_UP_SECONDS:g} s"):
        await followed(Receiver(HELD_UP), (0, HELD_UP_BYTES), (90, 1)).send_to(FakeSink())
    assert HELD_UP_SECONDS <= now() <= HELD_UP_SECONDS + 5


@pytest.mark.parametrize(
    "silences",
    [
        (GROWING_STALL_TIMEOUT + 5,),
        (29.5, 5, 17.5, 10, 14.5, 33.5),
        (10, 17.5, 33.5, 5, 15.5, 29.5, 25.5),
    ],
)
async def test_a_byte_now_and_then_does_not_prolong_it(silences: tuple[float, ...]) -> None:
    """With what is excused, none of the floor's windows would count: the second would last 80 s, the third 97 s."""
    trickle = tuple((seconds, 1) for seconds in silences * 10)
    with pytest.raises(SourceBroken):
        await followed(Receiver(HELD_UP), *trickle).send_to(FakeSink())
    assert now() <= HELD_UP_LONGEST_SECONDS + 5


async def test_a_byte_now_and_then_does_not_put_the_floor_off() -> None:
    with pytest.raises(SourceBroken, match="slower than"):
        await followed(Receiver(HELD_UP), *((GROWING_STALL_TIMEOUT - 1, 1),) * 10).send_to(FakeSink())
    assert now() <= GROWING_FLOOR.window_seconds + GROWING_STALL_TIMEOUT


@pytest.mark.parametrize("begin", [2, 6, 10, 14, 18])
@pytest.mark.parametrize("rate", [80_000, 150_000])
async def test_where_layers_come_slowly_a_silence_does_not_count_either(rate: int, begin: int) -> None:
    """Twelve layers by a link of 8 or 15 Mbit/s: a window of the floor may end before the source is asked."""
    flow = ((0.1, rate // 10),)
    sink = FakeSink()
    await followed(Receiver(HELD_UP), *flow * begin * 10, (40, 1), *flow * 300).send_to(sink)
    assert sink.sent == rate * (begin + 30) + 1


@pytest.mark.parametrize("says", [PeerSilent("much to do"), PeerDeclined("much to do")], ids=["nothing", "no"])
async def test_a_source_that_cannot_say_is_left_the_second_time(says: ContentUnavailable) -> None:
    """Its store takes long, or stands still."""
    sink = FakeSink()
    await followed(Receiver(says), (0, HELD_UP_BYTES), (17, HELD_UP_BYTES)).send_to(sink)
    assert sink.sent == 2 * HELD_UP_BYTES
    with pytest.raises(SourceBroken, match="much to do"):
        await followed(Receiver(says), (0, HELD_UP_BYTES), (60, HELD_UP_BYTES)).send_to(sink)
    assert now() <= 17 + GROWING_STALL_TIMEOUT + 3


async def test_a_source_that_cannot_say_now_and_then_is_not_left_for_that() -> None:
    sink = FakeSink()
    parts = ((0.0, HELD_UP_BYTES), (17.0, HELD_UP_BYTES))
    await followed(Receiver(PeerSilent("much to do")), *parts * 3).send_to(sink)
    assert sink.sent == 6 * HELD_UP_BYTES
