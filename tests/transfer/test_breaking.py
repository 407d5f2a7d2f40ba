"""Breaking off a body whose source is alive."""

from __future__ import annotations

import asyncio

import pytest

from registryd.transfer.body import BytesBody
from registryd.transfer.breaking import send_until
from registryd.transfer.errors import SourceBroken
from tests.fakes.bodies import BrokenBody, StalledBody
from tests.fakes.sinks import FakeSink

pytestmark = pytest.mark.looptime

DATA = b"0123456789"


class Instant(FakeSink):
    """Takes everything at once, without letting anybody else run."""

    async def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.sent = len(self.data)


async def never() -> str:
    await asyncio.Event().wait()
    return ""


async def after_a_second() -> str:
    await asyncio.sleep(1)
    return "it is slow"


async def test_a_body_that_is_sent_at_once_leaves_nothing_unawaited() -> None:
    """A coroutine that was never awaited is a warning in the log, and an error in tests."""
    await send_until(never(), BytesBody(DATA), sink := Instant())
    assert sink.data == DATA
    with pytest.raises(SourceBroken, match="the fake source broke"):
        await send_until(never(), BrokenBody(DATA, breaks_after=3), Instant())


async def test_it_is_broken_off_for_the_reason_that_is_given() -> None:
    with pytest.raises(SourceBroken, match="it is slow"):
        await send_until(after_a_second(), StalledBody(DATA, stalls_after=4), sink := FakeSink())
    assert sink.data == DATA[:4]


async def test_what_goes_wrong_in_watching_is_raised() -> None:
    async def fail() -> str:
        await asyncio.sleep(0)
        raise OSError("a bug")

    body = StalledBody(DATA)
    sending = asyncio.create_task(send_until(fail(), body, FakeSink()))
    await body.stalled.wait()
    await asyncio.sleep(0.1)
    body.resume.set()
    with pytest.raises(OSError, match="a bug"):
        await sending


async def test_cancelling_ends_the_watch_too() -> None:
    sending = asyncio.create_task(send_until(never(), StalledBody(DATA), FakeSink()))
    await asyncio.sleep(1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
