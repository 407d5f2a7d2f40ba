"""One watch for each body: several checks look at its source, each at its own times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import Check, MonitoredBody
from tests.fakes.bodies import BrokenBody, StalledBody
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from registryd.transfer.monitoring.meter import Reading

pytestmark = pytest.mark.looptime

DATA = b"0123456789"


class Noting(Check):
    """A check that notes when it looks and how much is left; finds the source too slow at one of its looks."""

    def __init__(self, pause: float, *, leaves_at_look: int = 0) -> None:
        self._pause = pause
        self._leaves_at_look = leaves_at_look
        self.looks: list[tuple[float, int]] = []
        self.begun: Reading | None = None
        self.ended: Reading | None = None

    def begin(self, begun: Reading) -> None:
        self.begun = begun

    def pause(self) -> float:
        return self._pause

    async def look(self, now: Reading) -> str | None:
        self.looks.append((now.at, now.left))
        return "too slow" if len(self.looks) == self._leaves_at_look else None

    def end(self, ended: Reading) -> None:
        self.ended = ended


async def test_each_check_looks_at_its_own_times_and_the_first_that_finds_it_too_slow_ends_it() -> None:
    often, rarely = Noting(1.0), Noting(2.5, leaves_at_look=2)
    sink = FakeSink()
    with pytest.raises(SourceBroken, match="too slow"):
        await MonitoredBody(StalledBody(DATA, stalls_after=4), often, rarely).send_to(sink)
    assert sink.data == DATA[:4]
    assert often.looks == [(float(second), 6) for second in range(1, 5 + len(often.looks) - 4)]
    assert rarely.looks == [(2.5, 6), (5.0, 6)]


class Faulty(Noting):
    """A check that has a bug."""

    async def look(self, now: Reading) -> str | None:
        await super().look(now)
        raise ValueError("a bug")


async def test_a_bug_in_a_check_is_one_line_in_the_log_and_ends_no_other_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty, other = Faulty(1.0), Noting(1.0, leaves_at_look=3)
    sink = FakeSink()
    with pytest.raises(SourceBroken, match="too slow"):
        await MonitoredBody(StalledBody(DATA, stalls_after=4), faulty, other).send_to(sink)
    assert (len(faulty.looks), len(other.looks)) == (1, 3)
    assert sink.data == DATA[:4]
    assert [record.message for record in caplog.records] == [
        "checking a source failed, and the agent goes on without it: ValueError: a bug"
    ]


async def test_a_bug_in_the_only_check_does_not_break_the_body() -> None:
    body, faulty, sink = StalledBody(DATA, stalls_after=4), Faulty(1.0), FakeSink()
    asyncio.get_running_loop().call_later(5, body.resume.set)
    await MonitoredBody(body, faulty).send_to(sink)
    assert sink.data == DATA
    assert len(faulty.looks) == 1


async def test_checks_are_told_of_begin_and_end_whatever_happens() -> None:
    check = Noting(1.0)
    with pytest.raises(SourceBroken, match="the fake source broke"):
        await MonitoredBody(BrokenBody(DATA, breaks_after=3), check).send_to(FakeSink())
    assert check.begun is not None
    assert check.ended is not None
    assert (check.begun.sent, check.ended.sent) == (0, 3)


async def test_cancelling_ends_the_watch() -> None:
    check = Noting(1.0)
    sending = asyncio.create_task(MonitoredBody(StalledBody(DATA), check).send_to(FakeSink()))
    await asyncio.sleep(1.5)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.sleep(3)
    assert len(check.looks) == 1
