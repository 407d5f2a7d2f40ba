"""A second look at this node's own copies, when a peer says that they are bad."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from registryd.aio.expiring import ExpiringSet
from registryd.content.source import ContentUnavailable
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken
from registryd.transfer.io_threads import run_in_pool
from registryd.transfer.sink import Sink

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Awaitable, Callable

    from registryd.content.source import ContentSource
    from registryd.oci.digest import Digest

_log = logging.getLogger(__name__)

# Hashing costs a second of processor time for each gigabyte. The doubting peer may be lying, so the agent checks a copy
# once in this time, one copy at a time, and no more than so many copies wait for that.
_LOOK_AGAIN_SECONDS: Final = 600.0
_WAITING: Final = 64
_REMEMBERED: Final = 10_000


class Scrubber:
    """Takes doubts, hashes the copies in its own time, and reports the bad ones."""

    def __init__(self, store: ContentSource, *, withdraw: Callable[[Digest], Awaitable[None]]) -> None:
        self._store = store
        self._withdraw = withdraw
        self._waiting: asyncio.Queue[Digest] = asyncio.Queue(_WAITING)
        self._looked_at: ExpiringSet[Digest] = ExpiringSet(lifetime=_LOOK_AGAIN_SECONDS, capacity=_REMEMBERED)

    def doubt(self, digest: Digest) -> None:
        """Check this copy: a peer thinks that it is bad. Ignored when it was checked lately, or when too many wait."""
        if digest in self._looked_at or self._waiting.full():
            return
        self._looked_at.add(digest)
        self._waiting.put_nowait(digest)

    async def run(self) -> NoReturn:
        """Look at doubted copies until cancelled."""
        while True:
            digest = await self._waiting.get()
            try:
                is_good = await _is_good(self._store, digest)
            except (ContentUnavailable, SourceBroken) as reason:
                _log.info("a peer got wrong bytes of %s, and the copy here cannot be read: %s", digest, reason)
                continue
            if is_good:
                _log.info("a peer got wrong bytes of %s, but the copy here is good", digest)
            else:
                await self._withdraw(digest)


async def _is_good(store: ContentSource, digest: Digest) -> bool:
    """Raises ContentUnavailable or SourceBroken when the copy cannot be read."""
    opened = await store.open(digest, Span.whole)
    sink = _HashingSink(digest.hasher())
    try:
        await opened.body.send_to(sink)
    finally:
        await opened.body.aclose()
    return digest.matches(sink.hasher)


class _HashingSink(Sink):
    """A sink (`registryd.transfer.sink`) that hashes what it is sent, in a thread."""

    def __init__(self, hasher: HASH) -> None:
        self.sent = 0
        self.hasher = hasher

    async def write(self, data: bytes | memoryview) -> None:
        await run_in_pool(partial(self.hasher.update, data))
        self.sent += len(data)
