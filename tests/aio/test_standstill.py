"""The time in which this process stood still is told from time in which it waited."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from registryd.aio.standstill import Standstill, own_standstill

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class FakeLoop:
    """Time goes on when the test says so; timers that are due run when the loop runs."""

    now: float = 0.0
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        timer = (when, callback)
        self.timers.append(timer)
        return FakeTimer(self, timer)

    def work(self, seconds: float) -> None:
        """Run for so long, with every timer on time."""
        until = self.now + seconds
        while self.timers and min(self.timers)[0] <= until:
            when, callback = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove((when, callback))
            self.now = max(self.now, when)
            callback()
        self.now = until

    def stand_still(self, seconds: float) -> None:
        """Run nothing for so long."""
        self.now += seconds


@dataclass
class FakeTimer:
    loop: FakeLoop
    timer: tuple[float, Callable[[], None]]

    def cancel(self) -> None:
        self.loop.timers.remove(self.timer)


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def standstill(loop: FakeLoop) -> Standstill:
    return Standstill(cast("Any", loop))


def test_a_loop_that_works_has_no_standstill(loop: FakeLoop, standstill: Standstill) -> None:
    with standstill.watched():
        loop.work(100)
        assert standstill.seconds == 0


def test_it_is_known_before_any_timer_has_run(loop: FakeLoop, standstill: Standstill) -> None:
    """After a standstill all timers are due: the one that judges a source may be the first."""
    with standstill.watched():
        loop.work(3.1)
        loop.stand_still(10)
        assert standstill.seconds == pytest.approx(10, abs=0.25)
        loop.work(3)
        assert standstill.seconds == pytest.approx(10, abs=0.25)


def test_all_of_them_count(loop: FakeLoop, standstill: Standstill) -> None:
    with standstill.watched():
        for _ in range(3):
            loop.stand_still(5)
            loop.work(5)
    assert standstill.seconds == pytest.approx(15, abs=0.75)


def test_being_late_is_none(loop: FakeLoop, standstill: Standstill) -> None:
    """A loop with too much to do is late each time, and has to find out that a source is silent all the same."""
    with standstill.watched():
        for _ in range(20):
            loop.stand_still(1.9)
            loop.work(0.1)
    assert standstill.seconds == 0


def test_while_nobody_watches_nothing_ticks_and_nothing_counts(loop: FakeLoop, standstill: Standstill) -> None:
    with standstill.watched():
        with standstill.watched():
            loop.work(1)
        loop.stand_still(4)
    assert standstill.seconds == pytest.approx(4, abs=0.25)
    assert loop.timers == []
    loop.stand_still(60)
    with standstill.watched():
        assert standstill.seconds == pytest.approx(4, abs=0.25)


async def test_the_running_loop_has_one() -> None:
    standstill = own_standstill()
    assert own_standstill() is standstill
    with standstill.watched():
        await asyncio.sleep(0.05)
        time.sleep(2.5)  # noqa: ASYNC251 - this is what it is about
        assert standstill.seconds >= 2.2
