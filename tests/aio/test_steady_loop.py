"""A standstill of the process does not move the event loop's clock, and what came meanwhile has come."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from registryd.aio.steady_loop import STANDSTILL_SECONDS, SteadyLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = 0.5


class SystemClock:
    """Moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def system() -> SystemClock:
    return SystemClock()


@pytest.fixture
def loop(system: SystemClock) -> Iterator[SteadyLoop]:
    loop = SteadyLoop(system)
    yield loop
    loop.close()


def work(loop: SteadyLoop, system: SystemClock, seconds: float) -> float:
    """Look at the clock as a running loop does, for so many seconds of the system's; returns what it shows then."""
    until = system.now + seconds
    while system.now < until:
        system.now = min(until, system.now + _TICK)
        loop.time()
    return loop.time()


def stand_still(loop: SteadyLoop, system: SystemClock, seconds: float) -> float:
    system.now += seconds
    return loop.time()


def test_it_is_the_systems_clock_while_the_loop_runs(loop: SteadyLoop, system: SystemClock) -> None:
    assert work(loop, system, 3600) == system.now


def test_a_standstill_takes_no_time(loop: SteadyLoop, system: SystemClock) -> None:
    before = work(loop, system, 3)
    assert stand_still(loop, system, 40) == before
    assert work(loop, system, 1) == pytest.approx(before + 1, rel=0.1)


def test_being_late_does(loop: SteadyLoop, system: SystemClock) -> None:
    """A loop that has too much to do is late each time, and has to find out that a source is silent all the same."""
    for _ in range(20):
        stand_still(loop, system, STANDSTILL_SECONDS - 0.1)
        work(loop, system, 0.1)
    assert loop.time() == system.now


def test_it_is_right_again_after_ten_times_as_long(loop: SteadyLoop, system: SystemClock) -> None:
    stand_still(loop, system, 30)
    assert work(loop, system, 290) < system.now
    assert work(loop, system, 20) == system.now


def test_it_never_goes_back(loop: SteadyLoop, system: SystemClock) -> None:
    shown = [loop.time()]
    for seconds in (0.1, 10, 1, 700, 0.3, 3600, 1.9, 2.0):
        shown += (stand_still(loop, system, seconds), work(loop, system, 3))
    assert shown == sorted(shown)


def test_it_is_never_behind_by_more_than_ten_minutes(loop: SteadyLoop, system: SystemClock) -> None:
    """Else zeroconf's timers, which are set by the system's clock, would be late for ever."""
    for _ in range(5):
        stand_still(loop, system, 3600)
    assert loop.time() == system.now - 600


# ---------------------------------------------------------------- a process that is really stopped

# Waits for so many seconds for a line at its input, and says when it begins and how it ended.
_WAITING = """
import asyncio, sys
from registryd.aio.steady_loop import SteadyLoop
from registryd.transfer.readiness import wait_readable

async def main():
    print("waiting", flush=True)
    try:
        await wait_readable(sys.stdin.fileno(), seconds=float(sys.argv[1]))
    except TimeoutError:
        print("silence")
    else:
        print("heard")

with asyncio.Runner(loop_factory=SteadyLoop) as runner:
    runner.run(main())
"""


@pytest.fixture
def waiting(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", _WAITING, str(request.param)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.3)
        yield process
        process.kill()


@pytest.mark.parametrize("waiting", [1.0], indirect=True)
def test_silence_is_over_in_time(waiting: subprocess.Popen[str]) -> None:
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "silence\n"


@pytest.mark.parametrize(("waiting", "stopped_seconds"), [(1.0, 4.0), (1.0, 1.5)], indirect=["waiting"])
def test_what_came_during_a_stop_has_come(waiting: subprocess.Popen[str], stopped_seconds: float) -> None:
    """Also during one that is too short for a standstill: what is there to read is seen before timers are."""
    waiting.send_signal(signal.SIGSTOP)
    time.sleep(stopped_seconds / 2)
    assert waiting.stdin is not None
    waiting.stdin.write("x")
    waiting.stdin.flush()
    time.sleep(stopped_seconds / 2)
    waiting.send_signal(signal.SIGCONT)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "heard\n"


@pytest.mark.parametrize("waiting", [3.0], indirect=True)
def test_after_a_standstill_the_other_side_has_the_rest_of_its_time(waiting: subprocess.Popen[str]) -> None:
    waiting.send_signal(signal.SIGSTOP)
    time.sleep(4)
    waiting.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert waiting.communicate("x", timeout=20)[0] == "heard\n"
