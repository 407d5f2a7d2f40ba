"""One piece of content on its way into the layout: a file that grows, then takes its place among the blobs.

Bytes that are in the file at the beginning were received before, and are hashed before any byte is added.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.content.source import StoreUnavailable
from registryd.content.writer import ContentMismatch
from registryd.store.directory.durable import write_all
from registryd.store.directory.errors import writing
from registryd.store.directory.pool import run_writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.oci.digest import Digest

# Bytes of a fast source are written this much at a time: a turn of the pool costs some 50 µs, hashing 1 MiB ten
# times that.
_BATCH_BYTES: Final = 1024 * 1024
# Bytes of a slow source are written at once, unless the last write is less than this ago: a reader of the growing file
# should not wait for a batch to fill.
_BATCH_SECONDS: Final = 0.02
# Bytes that were there before are read so much at a time, which takes some 0.1 s: a process that stops does not wait
# longer.
_REHASHED_BYTES: Final = 64 * 1024 * 1024


class Place(Protocol):
    """Where ingests grow, and where they go. Every call blocks and may raise OSError, unless it says otherwise."""

    def create(self, digest: Digest) -> int:
        """Make the growing file, or take one from before, that stands at its end; its descriptor."""

    def publish(self, digest: Digest) -> None:
        """Turn the growing file into a blob."""

    def discard(self, digest: Digest) -> None:
        """Remove the growing file, if it is there. Never raises."""

    def keep(self, digest: Digest) -> None:
        """Put the growing file by for the next attempt, or remove it. Never raises."""

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
        self._kept = 0
        self._rehashed = 0
        self._received = 0
        self._written = 0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._flushed_at = float("-inf")
        self._turn = asyncio.Lock()
        self._later: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._failure: StoreUnavailable | None = None
        self._told: Callable[[int], None] = lambda _: None

    @property
    def received(self) -> int:
        return self._received

    @property
    def written(self) -> int:
        """Number of bytes in the file: what a reader of `open_written` finds there."""
        return self._written

    def open_written(self, told: Callable[[int], None]) -> int:
        """A descriptor of its own for reading the file while it grows and after; the caller closes it.

        `told` is called with the number of bytes that can be read whenever it has grown.
        """
        self._told = told
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
        loop = asyncio.get_running_loop()
        if self._batch_bytes >= _BATCH_BYTES or loop.time() - self._flushed_at >= _BATCH_SECONDS:
            self._flushed_at = loop.time()
            await self._flush()
        elif self._later is None:
            self._later = loop.call_later(_BATCH_SECONDS, self._flush_later)

    # sealed, committed, closed

    async def seal(self) -> None:
        if self._state is _State.SEALED:
            return
        self._require(_State.OPEN)
        await self._flush_at_last()
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
        with suppress(StoreUnavailable):
            await self._flush_at_last()
        if self._state in {_State.OPEN, _State.SEALED}:
            await self._abort(keep=True)

    async def _refuse(self, why: str) -> NoReturn:
        await self._abort()
        raise ContentMismatch(why)

    async def _abort(self, *, keep: bool = False) -> None:
        self._state = _State.ABORTED
        self._close_file()
        put_away = self._place.keep if keep else self._place.discard
        try:
            await run_writing(partial(put_away, self._digest))
        finally:
            self._place.release(self._digest)

    def _require(self, state: _State) -> None:
        if self._failure:
            raise self._failure
        if self._state is not state:
            raise ValueError(f"the ingest of {self._digest} is {self._state.name.lower()}")

    # batches

    async def _flush(self) -> None:
        async with self._turn:
            if self._state is not _State.OPEN:
                return
            while self._rehashed < self._kept:
                await self._step(self._rehash)
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            if batch:
                await self._step(partial(self._append, b"".join(batch)))
                self._told(self._written)

    def _flush_later(self) -> None:
        """Flush while the source pauses: a reader of the growing file need not wait until the source goes on."""
        self._later = None
        flushing = self._flush_alone()
        self._flushing = asyncio.get_running_loop().create_task(flushing, name=f"flush {self._digest}")

    async def _flush_alone(self) -> None:
        with suppress(StoreUnavailable):  # it is raised at the next call
            await self._flush()

    async def _flush_at_last(self) -> None:
        if self._later:
            self._later.cancel()
            self._later = None
        if self._flushing:
            await asyncio.wait((self._flushing,))
        await self._flush()

    # what runs in the pool

    async def _step(self, call: Callable[[], None]) -> None:
        """Run a call that changes the disk. A failure of the call, or its cancellation, ends the ingest."""
        try:
            with writing(self._digest):
                await run_writing(call)
        except asyncio.CancelledError:
            await self._abort(keep=True)
            raise
        except BaseException as error:
            self._failure = error if isinstance(error, StoreUnavailable) else None
            await self._abort()
            raise

    def _create(self) -> None:
        # Assigned in the thread: a cancelled caller would lose a descriptor that is returned.
        self._fd = self._place.create(self._digest)
        self._kept = os.fstat(self._fd).st_size
        if self._size is not None and self._kept > self._size:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._kept = 0
        self._received = self._written = self._kept

    def _rehash(self) -> None:
        """Read some of the bytes that were there before. They count as received when they have been hashed."""
        stop = min(self._kept, self._rehashed + _REHASHED_BYTES)
        while self._rehashed < stop:
            data = os.pread(self._file, min(_BATCH_BYTES, stop - self._rehashed), self._rehashed)
            if not data:
                raise OSError(errno.EIO, "a file that was kept has become shorter")
            self._hasher.update(data)
            self._rehashed += len(data)

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
