"""The bytes of an archive a block at a time, from a file or a pipe."""

from __future__ import annotations

import os
from functools import partial
from typing import Final, Protocol

from registryd.transfer.io_threads import run_in_pool
from registryd.transfer.readiness import wait_readable

# The bytes that a pool call reads: so many that the call itself costs nothing.
BLOCK_BYTES: Final = 1024 * 1024


class Blocks(Protocol):
    """Bytes a block at a time."""

    async def read(self) -> bytes:
        """The next block, of whatever length; empty at the end."""


class FileBlocks:
    """An open descriptor of any kind, which stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_pollable = True

    async def read(self) -> bytes:
        await self._wait()
        return await run_in_pool(partial(os.read, self._fd, BLOCK_BYTES))

    async def _wait(self) -> None:
        # A pipe whose writer is slow must not hold a thread, which could not be interrupted.
        if self._is_pollable:
            try:
                await wait_readable(self._fd)
            except PermissionError:  # a regular file, which always has its next bytes
                self._is_pollable = False
