"""One piece of content on its way into containerd."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from registryd.aio.scope import run_to_end
from registryd.content.source import ContentNotFound, ContentUnavailable
from registryd.content.writer import ContentMismatch
from registryd.pb.containerd.content_pb2 import COMMIT, STAT, WRITE, AbortRequest, WriteContentRequest
from registryd.store.containerd.dialogue import WriteDialogue
from registryd.store.containerd.errors import AlreadyExists
from registryd.transfer.io_threads import run_in_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from registryd.oci.digest import Digest
    from registryd.pb.containerd.content_pb2 import WriteAction
    from registryd.store.containerd.connection import ContainerdConnection

# A message and its answer take half a millisecond: about what containerd needs to write and hash this much.
_MESSAGE_BYTES: Final = 1024 * 1024

_log = logging.getLogger(__name__)


class _State(Enum):
    OPEN = auto()
    SEALED = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(frozen=True, slots=True)
class IngestRef:
    """Where an ingest goes: its namespace, the lease that keeps it, and containerd's name for it."""

    namespace: str
    lease: str
    ref: str


class ContainerdIngest:
    """An Ingest over Content.Write, begun by `begin`; calls `release` once when it is over.

    The call stays open while it is sealed: containerd reads and hashes everything again for a call that goes on
    with what another one wrote.
    """

    def __init__(
        self,
        connection: ContainerdConnection,
        digest: Digest,
        size: int | None,
        *,
        place: IngestRef,
        release: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._digest = digest
        self._size = size
        self._place = place
        self._release = release
        self._dialogue = WriteDialogue(connection, namespace=place.namespace, lease=place.lease)
        self._state = _State.OPEN
        self._hasher = digest.hasher()
        self._batch = bytearray()
        self._sent = 0

    @property
    def received(self) -> int:
        return self._sent + len(self._batch)

    # begun and written

    async def begin(self) -> None:
        """Have containerd make it. Raises StoreFull or StoreUnavailable."""
        async with self._aborted_by_failure():
            await self._say(STAT)

    async def write(self, data: bytes) -> None:
        self._require(_State.OPEN)
        self._batch += data
        if self._size is not None and self.received > self._size:
            await self._refuse(f"more than the promised {self._size} bytes came for {self._digest}")
        while len(self._batch) >= _MESSAGE_BYTES:
            await self._send()

    # sealed, committed, closed

    async def seal(self) -> None:
        if self._state is _State.SEALED:
            return
        self._require(_State.OPEN)
        while self._batch:
            await self._send()
        if self._size is not None and self._sent != self._size:
            await self._refuse(f"{self._sent} instead of {self._size} bytes came for {self._digest}")
        if not self._digest.matches(self._hasher):
            await self._refuse(f"the bytes that came are not those of {self._digest}")
        self._state = _State.SEALED

    async def commit(self) -> None:
        await self.seal()
        async with self._aborted_by_failure():
            # Has it already, from elsewhere: as good as committed, and kept by our lease like it.
            with suppress(AlreadyExists):
                await self._say(COMMIT, expected=self._digest, timeout=self._connection.timing.commit)
        self._end(_State.COMMITTED)

    async def aclose(self) -> None:
        if self._state in {_State.OPEN, _State.SEALED}:
            await self._abort()

    async def _send(self) -> None:
        message = bytes(self._batch[:_MESSAGE_BYTES])
        async with self._aborted_by_failure():
            await run_in_pool(partial(self._hasher.update, message))
            await self._say(WRITE, message)
        del self._batch[: len(message)]
        self._sent += len(message)

    async def _say(
        self,
        action: WriteAction.ValueType,
        data: bytes = b"",
        *,
        expected: Digest | None = None,
        timeout: float | None = None,
    ) -> None:
        request = WriteContentRequest(
            action=action,
            ref=self._place.ref,
            total=self._size or 0,
            expected=str(expected or ""),
            offset=self._sent,
            data=data,
        )
        await self._dialogue.say(request, timeout=timeout or self._connection.timing.chunk)

    @asynccontextmanager
    async def _aborted_by_failure(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await self._abort()
            raise

    async def _refuse(self, why: str) -> NoReturn:
        await self._abort()
        raise ContentMismatch(why)

    async def _abort(self) -> None:
        self._end(_State.ABORTED)
        await run_to_end(self._discard(), name="abort ingest")

    async def _discard(self) -> None:
        connection, namespace = self._connection, self._place.namespace
        request = AbortRequest(ref=self._place.ref)
        try:
            await connection.ask(
                connection.content.Abort, request, namespace=namespace, timeout=connection.timing.listing
            )
        except ContentNotFound:
            pass
        except ContentUnavailable as error:
            _log.debug("containerd will collect an unfinished ingest itself: %s", error)

    def _end(self, state: _State) -> None:
        self._state = state
        self._dialogue.close()
        self._release()

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise ValueError(f"the ingest of {self._digest} is {self._state.name.lower()}")
