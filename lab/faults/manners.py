"""Ways to give bytes, one right and many wrong: each is a generator of chunks that breaks off as its name says."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeAlias

from lab.commands import run

Manner: TypeAlias = Callable[[bytes], AsyncGenerator[bytes, None]]
"""Gives the bytes in chunks. Ending early is ending early; raising Reset ends the connection with RST."""

_CHUNK_BYTES: Final = 64 * 1024
# From "sent" to "on the other side": what the kernel still holds when a process dies or a link goes down is not lost
# for the receiver, so the fault would come earlier than meant. A megabyte takes 80 ms at 100 Mbit/s.
_SETTLE_SECONDS: Final = 0.3


class Reset(Exception):
    """The connection is to end with RST."""


class InternalError(Exception):
    """The peer has a bug."""


async def honestly(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), _CHUNK_BYTES):
        yield data[start : start + _CHUNK_BYTES]


async def never(_data: bytes) -> AsyncGenerator[bytes, None]:
    await asyncio.Event().wait()
    yield b""  # makes it a generator; not reached


async def stalling(data: bytes) -> AsyncGenerator[bytes, None]:
    async for chunk in honestly(_half(data)):
        yield chunk
    await asyncio.Event().wait()


async def resetting(data: bytes) -> AsyncGenerator[bytes, None]:
    async for chunk in honestly(_half(data)):
        yield chunk
    raise Reset


async def ending_early(data: bytes) -> AsyncGenerator[bytes, None]:
    async for chunk in honestly(_half(data)):
        yield chunk


async def corrupting(data: bytes) -> AsyncGenerator[bytes, None]:
    """One bit in the middle is wrong."""
    middle = len(data) // 2
    async for chunk in honestly(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]):
        yield chunk


async def failing(_data: bytes) -> AsyncGenerator[bytes, None]:
    async for chunk in honestly(b""):
        yield chunk
    raise InternalError


def at_rate(bytes_per_second: int) -> Manner:
    """Everything, evenly and slowly."""

    async def slowly(data: bytes) -> AsyncGenerator[bytes, None]:
        step = max(1, bytes_per_second // 10)
        for start in range(0, len(data), step):
            yield data[start : start + step]
            await asyncio.sleep(0.1)

    return slowly


async def dying(data: bytes) -> AsyncGenerator[bytes, None]:
    """The whole process, as by `kill -9`."""
    async for chunk in honestly(_half(data)):
        yield chunk
    await asyncio.sleep(_SETTLE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


async def vanishing(data: bytes) -> AsyncGenerator[bytes, None]:
    """The host's cable is pulled: nothing of it is heard any more, and nothing is refused."""
    async for chunk in honestly(_half(data)):
        yield chunk
    await asyncio.sleep(_SETTLE_SECONDS)
    await run("ip", "link", "set", "eth0", "down")
    await asyncio.Event().wait()


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]
