"""Content that containerd got without this agent: found in the store, because containerd reports nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from registryd.content.inventory import Inventory
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from registryd.content.inventory import Stock
    from registryd.content.ledger import Ledger
    from registryd.oci.digest import Digest

# Seconds. New content within this time is looked at together: listing 10,000 names takes milliseconds. Layers that
# containerd throws away when they are unpacked are there for about a second.
_BATCH: Final = 0.25
# When the store does not answer.
_RETRY: Final = 1.0
# containerd puts a file in its place before its record of the file is on the disk (2.4.2), so for a moment a look finds
# content without a record. Content that has none for that long is in a namespace that is not shared.
_RECORD_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Whence:
    """Bytes that content has, when it came (seconds since the epoch), and the registry that it is from.

    The registry is empty where the store does not know it.
    """

    size: int
    created_at: float
    registry: str = ""


class Newcomers(Inventory, Protocol):
    """New content of a store into which other programs write, too."""

    async def whence(self, digest: Digest) -> Whence:
        """The origin of the content. Raises ContentUnavailable."""


class Elsewhere:
    """Follows a store, and tells the ledger of what is new in it."""

    def __init__(self, newcomers: Newcomers, ledger: Ledger) -> None:
        self._newcomers = newcomers
        self._ledger = ledger
        self._unknown: dict[Digest, float] = {}
        """Content of which the store has no record (yet), and until when the agent asks for it, in the loop's time."""

    async def run(self) -> NoReturn:
        """Follow the store until cancelled. Content that is there at the beginning is not new."""
        began = time.time()
        before = await self._take_stock()
        while True:
            await self._wait()
            now = await self._take_stock()
            for digest in now.held - before.held:
                self._unknown[digest] = asyncio.get_running_loop().time() + _RECORD_SECONDS
            await self._account_for_unknown(now, since=began)
            self._ledger.settle(now.held - self._unknown.keys())
            before = now

    async def _wait(self) -> None:
        """Until the store has changed, or until it is time to ask again about content without a record."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY if self._unknown else None):
                await self._newcomers.wait_changed()
        await asyncio.sleep(_BATCH)

    async def _account_for_unknown(self, stock: Stock, *, since: float) -> None:
        for digest, until in list(self._unknown.items()):
            is_known = await self._account_for(digest, since=since)
            if is_known or digest not in stock.held or asyncio.get_running_loop().time() >= until:
                del self._unknown[digest]

    async def _account_for(self, digest: Digest, *, since: float) -> bool:
        """Whether the store knows the content: not when it has no record yet, or when the content is gone again."""
        try:
            whence = await self._newcomers.whence(digest)
        except ContentUnavailable:
            return False
        # More than before can be seen when a store's files turn out to be readable: not all of that is new.
        if whence.created_at >= since:
            self._ledger.appeared(digest, whence.size, registry=whence.registry)
        return True

    async def _take_stock(self) -> Stock:
        while True:
            try:
                return await self._newcomers.stock()
            except ContentUnavailable:
                await asyncio.sleep(_RETRY)
