"""A node that stands still itself does not blame the source, whose bytes wait for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from registryd.aio.steady_loop import SteadyLoop
from registryd.transfer.errors import SourceBroken
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.floor import FloorCheck, FloorRate
from tests.fakes.sinks import FakeSink

if TYPE_CHECKING:
    from registryd.transfer.sink import Sink

# Real seconds: a clock that tests turn never stands still. The source gives 1.7 times the floor.
_FLOOR = FloorRate(bytes_per_second=600, window_seconds=0.6)
_STEP_BYTES, _STEP_SECONDS = 50, 0.05
_STANDS_STILL_SECONDS = 3.0


class SteadyBody:
    """Gives 50 bytes each 50 ms; at the tenth step, the process stands still or the source is silent."""

    length = 60 * _STEP_BYTES

    def __init__(self, *, stands_still: bool) -> None:
        self._stands_still = stands_still

    async def send_to(self, sink: Sink) -> None:
        for step in range(60):
            if step == 10 and self._stands_still:
                time.sleep(_STANDS_STILL_SECONDS)  # noqa: ASYNC251 - nothing of the process goes on
            elif step == 10:
                await asyncio.sleep(_STANDS_STILL_SECONDS)
            await sink.write(bytes(_STEP_BYTES))
            await asyncio.sleep(_STEP_SECONDS)

    async def aclose(self) -> None:
        """Nothing is held."""


def send(body: SteadyBody) -> FakeSink:
    sink = FakeSink()
    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        runner.run(MonitoredBody(body, FloorCheck(_FLOOR)).send_to(sink))
    return sink


def test_its_own_standstill_is_not_the_sources() -> None:
    assert len(send(SteadyBody(stands_still=True)).data) == SteadyBody.length


def test_silence_is() -> None:
    with pytest.raises(SourceBroken, match="slower than"):
        send(SteadyBody(stands_still=False))
