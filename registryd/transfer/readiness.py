"""Waiting in the event loop until a descriptor can be read or written, holding no thread meanwhile."""

from __future__ import annotations

import asyncio
import select


async def wait_readable(fd: int, *, seconds: float | None = None) -> None:
    """Wait until there are bytes, an end or an error to read; raises TimeoutError when that takes too long.

    A timer of the loop, not `asyncio.timeout`: a relay waits thousands of times a second.
    """
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    alarm = None if seconds is None else loop.call_later(seconds, _expire, readable)
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


def _expire(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def is_readable(fd: int) -> bool:
    """Whether there are bytes, an end or an error to read now."""
    look = select.poll()
    look.register(fd, select.POLLIN)
    return bool(look.poll(0))
