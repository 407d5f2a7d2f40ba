"""Peers that the settings name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from registryd.cluster.members.discovery.contract import Discovery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from registryd.notation import Address


class StaticDiscovery(Discovery):
    """The same addresses for ever."""

    def __init__(self, peers: Iterable[Address]) -> None:
        self._peers = frozenset(peers)

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        yield self._peers
        await asyncio.Event().wait()
