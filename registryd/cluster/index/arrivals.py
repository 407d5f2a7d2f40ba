"""Claims that wait a moment for another node's claim."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registryd.notation import Address
    from registryd.oci.digest import Digest


class Arrivals:
    """The awaited nodes, by digest. An entry is kept only as long as its waiters wait."""

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[Digest, Address], set[asyncio.Event]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, digest: Digest, address: Address, *, seconds: float) -> bool:
        """Return when that node has claimed the digest, or the time is over; whether it has."""
        waiters = self._waiting[digest, address]
        arrived = asyncio.Event()
        waiters.add(arrived)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await arrived.wait()
            return arrived.is_set()
        finally:
            waiters.discard(arrived)
            if not waiters:
                self._waiting.pop((digest, address), None)

    def arrive(self, digest: Digest, address: Address) -> None:
        """The node has claimed the digest."""
        for arrived in self._waiting.pop((digest, address), ()):
            arrived.set()
