"""A node that is told that it is slow while a body comes: it leaves the place where others need the link."""

from __future__ import annotations

import asyncio

import pytest

from registryd.aio import clock
from registryd.cluster.health.own_pace import OwnPace
from registryd.cluster.health.yielding import YieldCheck
from registryd.notation import Address
from registryd.transfer.errors import SourceLeft
from registryd.transfer.monitoring.body import MonitoredBody
from tests.fakes.bodies import StalledBody
from tests.fakes.sinks import FakeSink

pytestmark = pytest.mark.looptime

SOURCE, OTHER = Address("10.0.0.1", 3173), Address("10.0.0.2", 3173)
SECONDS = 60.0


class Receiver:
    """Gets a body for a minute, and is told after two seconds that it is slow."""

    def __init__(self, *places: Address | None) -> None:
        """What the index nodes name, one place after the other; then always the last one."""
        self._places = list(places)
        self.pace = OwnPace()
        self.asked: list[float] = []
        self.gave_way = False
        self.begun = clock.now()

    async def place(self) -> Address | None:
        self.asked.append(clock.now() - self.begun)
        return self._places.pop(0) if len(self._places) > 1 else self._places[0]

    def give_way(self) -> None:
        self.gave_way = True

    async def receive(self, *, told_after: float = 2.0) -> None:
        check = YieldCheck(SOURCE, lambda: self.pace.slow_since, self.place, self.give_way)
        asyncio.get_running_loop().call_later(told_after, self.pace.left_by, "10.0.0.3")
        body = StalledBody(b"content")
        asyncio.get_running_loop().call_later(SECONDS, body.resume.set)
        await MonitoredBody(body, check).send_to(FakeSink())


async def test_it_leaves_for_another_place_within_a_second() -> None:
    receiver = Receiver(OTHER)
    with pytest.raises(SourceLeft, match="this node is slow"):
        await receiver.receive()
    assert receiver.gave_way
    assert clock.now() - receiver.begun < 3


async def test_it_asks_again_while_others_are_still_below_it_and_then_stays() -> None:
    receiver = Receiver(SOURCE)
    await receiver.receive()
    assert not receiver.gave_way
    assert 3 <= len(receiver.asked) <= 6
    assert max(receiver.asked) < 8
    later = Receiver(SOURCE, None, OTHER)
    with pytest.raises(SourceLeft):
        await later.receive()
    assert len(later.asked) == 3


async def test_who_knew_that_it_is_slow_has_a_good_place_already() -> None:
    receiver = Receiver(OTHER)
    receiver.pace.left_by("10.0.0.3")
    await receiver.receive()
    assert receiver.asked == []


async def test_who_is_told_nothing_asks_nobody() -> None:
    receiver = Receiver(OTHER)
    await receiver.receive(told_after=2 * SECONDS)
    assert receiver.asked == []
