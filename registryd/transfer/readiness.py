"""Waiting in the event loop until a descriptor can be read or written, holding no thread meanwhile."""

from __future__ import annotations

import asyncio
import select

from registryd.aio.standstill import LEAST_SECONDS


async def wait_readable(fd: int, *, seconds: float | None = None) -> None:
    """Wait until there are bytes, an end or an error to read; raises TimeoutError when that takes too long.

    A timer of the loop, not `asyncio.timeout`: a relay waits thousands of times a second. After a standstill of this
    process the timer comes before the loop has seen what there is to read, and may be what ended it.
    """
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    alarm: asyncio.TimerHandle | None = None

    def expire(due: float) -> None:
        nonlocal alarm
        if readable.done():
            return
        if _is_readable(fd):
            readable.set_result(None)
        elif loop.time() - due >= LEAST_SECONDS:  # the other side may have waited for this one: it has its time anew
            alarm = set_alarm()
        else:
            readable.set_exception(TimeoutError())

    def set_alarm() -> asyncio.TimerHandle | None:
        if seconds is None:
            return None
        due = loop.time() + seconds
        return loop.call_at(due, expire, due)

    alarm = set_alarm()
    loop.add_reader(fd, _settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(fd)
        if alarm is not None:
            alarm.cancel()


async def wait_writable(fd: int) -> None:
    """Wait until there is room to write, or an error to be told of by writing."""
    loop = asyncio.get_running_loop()
    writable = loop.create_future()
    loop.add_writer(fd, _settle, writable)
    try:
        await writable
    finally:
        loop.remove_writer(fd)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
