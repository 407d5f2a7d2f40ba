"""Waiting for bytes for so long at most, also after a standstill of this process."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.readiness import wait_readable

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def test_silence_is_over_in_time(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        await wait_readable(pair[0].fileno(), seconds=0.1)


async def test_what_came_during_a_standstill_has_come(pair: Pair) -> None:
    """The loop runs the timer before it looks at the socket, as after SIGCONT."""
    ours, theirs = pair
    waiting = asyncio.create_task(wait_readable(ours.fileno(), seconds=0.2))
    await asyncio.sleep(0.05)
    alarm = next(timer for timer in asyncio.get_running_loop()._scheduled if timer._callback.__name__ == "_expire")  # type: ignore[attr-defined]
    theirs.send(b"x")
    alarm._run()
    alarm.cancel()
    await waiting


async def test_after_a_standstill_the_other_side_has_its_time_anew(pair: Pair) -> None:
    ours, theirs = pair
    waiting = asyncio.create_task(wait_readable(ours.fileno(), seconds=0.5))
    await asyncio.sleep(0.05)
    time.sleep(3)  # noqa: ASYNC251 - nothing of the process goes on
    await asyncio.sleep(0.1)
    assert not waiting.done()
    theirs.send(b"x")
    await waiting


async def test_that_time_has_an_end(pair: Pair) -> None:
    waiting = asyncio.create_task(wait_readable(pair[0].fileno(), seconds=0.5))
    await asyncio.sleep(0.05)
    time.sleep(3)  # noqa: ASYNC251 - nothing of the process goes on
    with pytest.raises(TimeoutError):
        await waiting
