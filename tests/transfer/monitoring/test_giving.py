"""A source is not too slow for one body while it gives a lot to all of them together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import FloorCheck, FloorRate
from registryd.transfer.monitoring.giving import Giving
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from registryd.transfer.sink import Sink

pytestmark = pytest.mark.looptime

FLOOR = FloorRate(bytes_per_second=100, window_seconds=5)


class PacedBody:
    """Gives so many bytes each second."""

    def __init__(self, rate: int, seconds: int) -> None:
        self.length = rate * seconds
        self._rate = rate
        self._seconds = seconds

    async def send_to(self, sink: Sink) -> None:
        for _ in range(self._seconds):
            await asyncio.sleep(1)
            await sink.write(bytes(self._rate))

    async def aclose(self) -> None:
        """Nothing is held."""


async def send(giving: Giving, rate: int, seconds: int) -> float:
    """Returns when it was sent."""
    body = MonitoredBody(PacedBody(rate, seconds), FloorCheck(FLOOR, giving=giving), giving=giving)
    await body.send_to(FakeSink())
    return asyncio.get_running_loop().time()


async def test_beside_bodies_that_get_much_none_is_too_slow() -> None:
    giving = Giving()
    await asyncio.gather(send(giving, 10, 30), send(giving, 400, 30), send(giving, 400, 30))
    assert (giving.bodies, giving.sent) == (0, 24_300)


async def test_when_the_others_have_ended_it_is() -> None:
    giving = Giving()
    slow = asyncio.create_task(send(giving, 10, 30))
    ended = await send(giving, 400, 9)
    with pytest.raises(SourceBroken, match="slower than 100 bytes/s for 5 s"):
        await slow
    assert asyncio.get_running_loop().time() - ended < 10


async def test_what_all_get_little_of_is_too_slow_for_all() -> None:
    giving = Giving()
    ends = await asyncio.gather(*(send(giving, rate, 30) for rate in (40, 60, 150)), return_exceptions=True)
    assert [isinstance(end, SourceBroken) for end in ends] == [True, True, False]


async def test_for_half_a_minute_at_most() -> None:
    """Else a member could hold one up for as long as it feeds another."""
    giving = Giving()
    other = asyncio.create_task(send(giving, 400, 200))
    with pytest.raises(SourceBroken):
        await send(giving, 10, 200)
    assert asyncio.get_running_loop().time() == pytest.approx(35, abs=0.1)
    await other


async def test_another_source_excuses_nothing() -> None:
    other = asyncio.create_task(send(Giving(), 400, 30))
    with pytest.raises(SourceBroken):
        await send(Giving(), 10, 30)
    other.cancel()
