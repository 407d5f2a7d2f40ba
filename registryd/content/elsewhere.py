"""Content that containerd got without this agent: found in the store, because containerd reports nothing."""

from __future__ import annotations

import asyncio
import time
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

    async def run(self) -> NoReturn:
        """Follow the store until cancelled. Content that is there at the beginning is not new."""
        began = time.time()
        before = await self._take_stock()
        while True:
            await self._newcomers.wait_changed()
            await asyncio.sleep(_BATCH)
            now = await self._take_stock()
            for digest in now.held - before.held:
                await self._account_for(digest, since=began)
            self._ledger.settle(now.held)
            before = now

    async def _account_for(self, digest: Digest, *, since: float) -> None:
        try:
            whence = await self._newcomers.whence(digest)
        except ContentUnavailable:
            return  # in a namespace that is nobody's business, or gone again
        # More than before can be seen when a store's files turn out to be readable: not all of that is new.
        if whence.created_at < since:
            return
        self._ledger.appeared(digest, whence.size, registry=whence.registry)

    async def _take_stock(self) -> Stock:
        while True:
            try:
                return await self._newcomers.stock()
            except ContentUnavailable:
                await asyncio.sleep(_RETRY)
