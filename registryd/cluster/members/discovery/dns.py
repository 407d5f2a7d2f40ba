"""Peers behind a name, such as a headless service: all its addresses, resolved again and again."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING, Final

from registryd.cluster.members.discovery.contract import Discovery
from registryd.cluster.members.discovery.trouble import DiscoveryTrouble
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Resolve = Callable[[Address], Awaitable[frozenset[Address]]]
    """All addresses of a name, with its port; raises OSError."""

# The share of the interval that is left to chance, so that a thousand agents do not ask the resolver in step.
_JITTER: Final = 0.2


async def resolve_host(name: Address) -> frozenset[Address]:
    """Ask the system's resolver for the name's addresses of both families; raises OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    return frozenset(Address(str(sockaddr[0]), name.port) for *_, sockaddr in infos)


class DnsDiscovery(Discovery):
    """The addresses of `name`, looked up every `interval` seconds; while that fails, the last known ones."""

    def __init__(self, name: Address, *, interval: float, resolve: Resolve = resolve_host) -> None:
        self._name = name
        self._interval = interval
        self._resolve = resolve
        self._trouble = DiscoveryTrouble(str(name))

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        known: frozenset[Address] | None = None
        while True:
            found = await self._look_up()
            if found is not None and found != known:
                known = found
                yield found
            await asyncio.sleep(self._interval * (1 - _JITTER * random.random()))  # noqa: S311 - not a secret

    async def _look_up(self) -> frozenset[Address] | None:
        try:
            # The resolver's own time-outs may add up to half a minute; no request waits for this one.
            found = await self._resolve(self._name)
        except OSError as error:
            self._trouble.begins(f"cannot be resolved ({error.strerror})")
            return None
        self._trouble.is_over()
        return found
