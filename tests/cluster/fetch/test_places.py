"""Which waits of containerd's requests are ended for the sake of what is to be fetched: in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.fetch.places import Places, Pressed
from registryd.content.asker import AskAgain, Asker, asked_by
from registryd.content.source import ContentNotFound
from tests.cluster.receiving import MIB, OwnStore, layer, now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from registryd.oci.digest import Digest

pytestmark = pytest.mark.looptime

LINES_UP = Asker(lines_up=True, waits=True)
KEEPS_ITS_PLACE = Asker(lines_up=False, waits=True)
SIZE = 20 * MIB
QUICK, TURN = 0.05, 2.05

WAITED, AGAIN, PRESSED = "waited", "again", "pressed"


@dataclass
class Intentions:
    """What a node means to fetch, since when; a test says so."""

    asked: dict[Digest, float] = field(default_factory=dict)
    idle: bool = False

    def to_be_asked(self) -> Mapping[Digest, float]:
        return self.asked

    def is_idle(self) -> bool:
        return self.idle


class Node:
    def __init__(self) -> None:
        self.own = OwnStore()
        self.intentions = Intentions()
        self.places = Places(self.own, self.intentions)

    def promise(self, number: int) -> None:
        """containerd is sent to the origin for that layer, of which it has begun an ingest."""
        self.own.begin(layer(number), SIZE)
        with asked_by(LINES_UP):
            self.places.promise(layer(number))

    async def wait(
        self, number: int, seconds: float = 100.0, *, start: int = 0, asker: Asker | None = LINES_UP
    ) -> tuple[str, float]:
        """How a wait for that layer ends that would be over after so many seconds, and how long it lasts."""
        begun, ended = now(), WAITED
        try:
            with asked_by(asker) if asker else nullcontext():
                async with self.places.waiting(layer(number), SIZE, start):
                    await asyncio.sleep(seconds)
        except AskAgain as again:
            ended = AGAIN if again.size == SIZE else "of another size"
        except Pressed:
            ended = PRESSED
        return ended, round(now() - begun, 2)

    def has(self, places: int) -> None:
        """So many requests have been answered at once."""
        with asked_by(LINES_UP), ExitStack() as stack:
            for _ in range(places):
                stack.enter_context(self.places.present())


@pytest.fixture
def no_watch_left() -> Iterator[Node]:
    """A node of which nothing watches in the end."""
    node = Node()
    yield node
    assert not node.places._watching


# Who is ended


async def test_who_waits_while_there_is_nothing_to_fetch_is_ended_once_and_left_alone_then(no_watch_left: Node) -> None:
    node = no_watch_left
    assert await node.wait(1) == (AGAIN, TURN)
    assert await node.wait(1) == (WAITED, 100.0)


@pytest.mark.parametrize("asker", [None, KEEPS_ITS_PLACE, Asker()])
async def test_nobody_is_ended_whose_end_would_make_no_room(asker: Asker | None) -> None:
    node = Node()
    node.promise(9)
    assert await node.wait(1, asker=asker) == (WAITED, 100.0)


async def test_who_would_keep_what_was_promised_waiting_is_ended_after_a_moment(no_watch_left: Node) -> None:
    node = no_watch_left
    node.promise(9)
    assert await node.wait(1) == (AGAIN, QUICK)


async def test_who_would_keep_what_is_to_be_asked_for_waiting_is_ended_too() -> None:
    node = Node()
    node.intentions.asked = {layer(9): 0.0}
    assert await node.wait(1) == (AGAIN, QUICK)


async def test_what_comes_quickly_is_not_ended() -> None:
    node = Node()
    node.promise(9)
    assert await node.wait(1, QUICK / 2) == (WAITED, 0.03)


async def test_who_waits_already_is_ended_when_something_is_promised() -> None:
    node = Node()
    waiting = asyncio.create_task(node.wait(1))
    await asyncio.sleep(1)
    node.promise(9)
    assert await waiting == (AGAIN, 1.0)


async def test_nobody_is_ended_for_the_layer_that_he_waits_for_himself() -> None:
    node = Node()
    node.promise(1)
    assert (await node.wait(1))[1] == TURN


# For what


async def test_what_has_begun_to_come_keeps_its_place_and_what_was_given_up_needs_none() -> None:
    node = Node()
    node.promise(8)
    node.promise(9)
    node.own.grow(layer(8), 1)
    node.own.give_up(layer(9))
    assert (await node.wait(1))[1] == TURN


async def test_what_was_promised_before_it_was_ended_is_before_it_in_the_line() -> None:
    node = Node()
    node.promise(9)
    assert await node.wait(1) == (AGAIN, QUICK)
    assert await node.wait(1) == (WAITED, 100.0)


async def test_what_is_promised_in_a_time_of_others_counts_for_each_of_them() -> None:
    node = Node()
    node.promise(9)
    ends = await asyncio.gather(*(node.wait(number) for number in range(3)))
    assert ends == [(AGAIN, QUICK)] * 3


async def test_while_a_place_is_known_to_be_free_nobody_is_ended() -> None:
    node = Node()
    node.has(places=3)
    node.promise(9)
    first, second = (asyncio.create_task(node.wait(number, 1.0)) for number in (1, 2))
    await asyncio.sleep(0.5)
    assert await node.wait(3) == (AGAIN, QUICK)
    assert await first == await second == (WAITED, 1.0)


async def test_places_of_a_containerd_that_has_not_asked_for_long_are_not_counted_on() -> None:
    node = Node()
    node.has(places=8)
    await asyncio.sleep(11)
    node.promise(9)
    node.has(places=1)
    assert await node.wait(1) == (AGAIN, QUICK)


async def test_requests_of_others_show_no_places() -> None:
    node = Node()
    with asked_by(KEEPS_ITS_PLACE), node.places.present(), node.places.present():
        pass
    node.promise(9)
    assert await node.wait(1) == (AGAIN, QUICK)


async def test_who_waits_while_much_is_here_that_is_not_asked_for_gives_way_once() -> None:
    node = Node()
    node.intentions.idle = True
    assert await node.wait(1) == (AGAIN, QUICK)
    assert await node.wait(1) == (WAITED, 100.0)


# How often


async def test_one_layer_is_ended_twice_at_most_and_fetched_from_the_origin_then() -> None:
    """containerd gives a pull up with the fourth end without a byte."""
    node = Node()
    ends = []
    for number in range(10, 16):
        node.promise(number)
        ends.append((await node.wait(1))[0])
    assert ends == [AGAIN, AGAIN, PRESSED, PRESSED, PRESSED, PRESSED]


async def test_ends_of_another_kind_count_as_much() -> None:
    node = Node()
    for _ in range(2):
        assert node.places.may_end(layer(1), 0)
        node.places.end(layer(1), 0)
    assert not node.places.may_end(layer(1), 0)
    node.promise(9)
    assert await node.wait(1) == (PRESSED, QUICK)


async def test_who_has_got_a_byte_meanwhile_is_counted_anew() -> None:
    """From whomever: its next request begins at another byte."""
    node = Node()
    for number in (7, 8):
        node.promise(number)
        assert (await node.wait(1))[0] == AGAIN
    node.promise(9)
    assert (await node.wait(1, start=1))[0] == AGAIN
    assert (await node.wait(1, start=0))[0] == PRESSED


async def test_two_that_want_the_same_are_counted_as_one() -> None:
    """Two namespaces of a containerd: neither is ended a fourth time, whoever got the bytes."""
    node = Node()
    ends: list[tuple[str, float]] = []
    for number in (10, 20):
        node.promise(number)
        ends += await asyncio.gather(node.wait(1), node.wait(1))
    assert [end for end, _ in ends].count(AGAIN) <= 3
    assert PRESSED in {end for end, _ in ends}


async def test_what_containerd_does_not_receive_any_more_is_counted_anew_when_it_comes_again() -> None:
    node = Node()
    node.own.begin(layer(1), SIZE)
    node.own.begin(layer(2), SIZE)
    for number in (1, 2):
        for _ in range(2):
            node.places.end(layer(number), 0)
    node.own.give_up(layer(1))
    await node.places.forget_ended()
    assert node.places.may_end(layer(1), 0)
    assert not node.places.may_end(layer(2), 0)
    node.own.commit(layer(2))
    await node.places.forget_ended()
    assert not node.places._ends


async def test_memory_is_bounded_where_nobody_ever_waits() -> None:
    node = Node()
    for number in range(5_000):
        node.promise(number)
        node.places.end(layer(number), 0)
    assert len(node.places._promised) <= 2_000
    assert len(node.places._ends) <= 2_000


# What becomes of the wait


async def test_what_a_wait_gives_or_raises_is_given_and_raised(no_watch_left: Node) -> None:
    node = no_watch_left
    with asked_by(LINES_UP):
        with pytest.raises(ContentNotFound):
            async with node.places.waiting(layer(1), SIZE):
                raise ContentNotFound("nobody has it")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), node.places.waiting(layer(1), SIZE):
                await asyncio.sleep(5)


async def test_a_wait_that_is_cancelled_is_cancelled(no_watch_left: Node) -> None:
    waiting = asyncio.create_task(no_watch_left.wait(1))
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_wait_that_is_cancelled_when_it_is_ended_is_not_told_to_ask_again(no_watch_left: Node) -> None:
    node = no_watch_left
    waiting = asyncio.create_task(node.wait(1))
    await asyncio.sleep(TURN)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


class FaultyIntentions(Intentions):
    """Has a bug."""

    def is_idle(self) -> bool:
        raise ValueError("a bug")


async def test_a_wait_that_nobody_can_watch_is_ended_and_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture, no_watch_left: Node
) -> None:
    node = no_watch_left
    node.places = Places(node.own, FaultyIntentions())
    assert await node.wait(1) == (AGAIN, QUICK)
    assert [record.message for record in caplog.records] == [
        "watching a request that waits failed, and the agent goes on without it: ValueError: a bug"
    ]
