"""One piece of content on its way into the layout: a file that grows, then takes its place among the blobs."""

from __future__ import annotations

import asyncio
import os
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.content.writer import ContentMismatch
from registryd.store.directory.durable import write_all
from registryd.store.directory.errors import writing
from registryd.store.directory.pool import run_writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.oci.digest import Digest

# What a fast source brings is written this much at a time: a turn of the pool costs some 50 µs, hashing 1 MiB ten
# times that.
_BATCH_BYTES: Final = 1024 * 1024
# What a slow source brings is written at once, unless that was done less than this ago: whoever reads the growing
# file should not wait for a batch to fill.
_BATCH_SECONDS: Final = 0.02


class Place(Protocol):
    """Where ingests grow, and where they go. Every call blocks and may raise OSError, unless it says otherwise."""

    def create(self, digest: Digest) -> int:
        """Make the growing file; its descriptor."""

    def publish(self, digest: Digest) -> None:
        """Turn the growing file into a blob."""

    def discard(self, digest: Digest) -> None:
        """Remove the growing file, if it is there. Never raises."""

    def release(self, digest: Digest) -> None:
        """Let someone else receive the digest from now on. Does not block, never raises."""


class _State(Enum):
    OPEN = auto()
    SEALED = auto()
    COMMITTED = auto()
    ABORTED = auto()


class FileIngest:
    """An ingest of the directory store. Bytes are hashed and written in the pool, in batches."""

    def __init__(self, place: Place, digest: Digest, size: int | None) -> None:
        self._place = place
        self._digest = digest
        self._size = size
        self._state = _State.OPEN
        self._fd: int | None = None
        self._hasher = digest.hasher()
        self._received = 0
        self._written = 0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._flushed_at = float("-inf")

    @property
    def received(self) -> int:
        return self._received

    @property
    def written(self) -> int:
        """Number of bytes in the file: what a reader of `open_written` finds there."""
        return self._written

    def open_written(self) -> int:
        """A descriptor of its own for reading the file while it grows and after; the caller closes it."""
        return os.dup(self._file)

    # begun and written

    async def begin(self) -> None:
        """Make the file. Raises StoreFull or StoreUnavailable."""
        await self._step(self._create)

    async def write(self, data: bytes) -> None:
        self._require(_State.OPEN)
        self._received += len(data)
        if self._size is not None and self._received > self._size:
            await self._refuse(f"more than the promised {self._size} bytes came for {self._digest}")
        self._batch.append(data)
        self._batch_bytes += len(data)
        now = asyncio.get_running_loop().time()
        if self._batch_bytes >= _BATCH_BYTES or now - self._flushed_at >= _BATCH_SECONDS:
            await self._flush()
            self._flushed_at = now

    # sealed, committed, closed

    async def seal(self) -> None:
        if self._state is _State.SEALED:
            return
        self._require(_State.OPEN)
        await self._flush()
        if self._size is not None and self._received != self._size:
            await self._refuse(f"{self._received} instead of {self._size} bytes came for {self._digest}")
        if not self._digest.matches(self._hasher):
            await self._refuse(f"the bytes that came are not those of {self._digest}")
        await self._step(self._make_durable)
        self._state = _State.SEALED

    async def commit(self) -> None:
        await self.seal()
        await self._step(partial(self._place.publish, self._digest))
        self._state = _State.COMMITTED
        self._place.release(self._digest)

    async def aclose(self) -> None:
        if self._state in {_State.OPEN, _State.SEALED}:
            await self._abort()

    async def _refuse(self, why: str) -> NoReturn:
        await self._abort()
        raise ContentMismatch(why)

    async def _abort(self) -> None:
        self._state = _State.ABORTED
        self._close_file()
        try:
            await run_writing(partial(self._place.discard, self._digest))
        finally:
            self._place.release(self._digest)

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise ValueError(f"the ingest of {self._digest} is {self._state.name.lower()}")

    # what runs in the pool

    async def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            await self._step(partial(self._append, b"".join(batch)))

    async def _step(self, call: Callable[[], None]) -> None:
        """Run a call that changes the disk; whatever keeps it from succeeding, cancellation too, ends the ingest."""
        try:
            with writing(self._digest):
                await run_writing(call)
        except BaseException:
            await self._abort()
            raise

    def _create(self) -> None:
        # Assigned in the thread: a cancelled caller would lose a descriptor that is returned.
        self._fd = self._place.create(self._digest)

    def _append(self, data: bytes) -> None:
        self._hasher.update(data)
        write_all(self._file, data)
        self._written += len(data)

    def _make_durable(self) -> None:
        os.fchmod(self._file, 0o444)
        os.fsync(self._file)
        self._close_file()

    @property
    def _file(self) -> int:
        if self._fd is None:
            raise ValueError(f"the ingest of {self._digest} has no file")
        return self._fd

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
