"""Which node may speak for which host: a node speaks only for the host from which its call comes.

Most nodes are known to others by the address from which they call. Three kinds are not:

* A node that is known by a name is believed if the name stands for the address from which it calls.
* A node with several addresses may be known by one and call from another. It is believed if no node calls from the
  known address, and if no member is known by the calling address.
* Nodes behind a translated address (NAT) are known by that address, each with a port of its own. So they may speak for
  each other.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio.recent import Recent
from registryd.cluster.index.desk import WAVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from registryd.identity.requester import Requester
    from registryd.notation import Address

_log = logging.getLogger(__name__)

# Remembered hosts. In a cluster larger than any, or when a member makes up names, the oldest are forgotten.
_MOST_HOSTS: Final = 20_000
# A name is looked up again after so long, and no caller waits longer for it than the second time.
_NAME_HOLDS_SECONDS: Final = 60.0
_LOOK_UP_SECONDS: Final = 1.0


class MaySpeak(Protocol):
    """Decides which statements are believed."""

    async def may_speak(self, requester: Requester, host: str) -> bool:
        """Whether what comes from there can be the word of the host."""


class Speakers:
    """Remembers which nodes have spoken; `discovered` are the members' addresses, as discovery gives them."""

    def __init__(
        self,
        discovered: Callable[[], frozenset[Address]],
        clock: Callable[[], float],
        *,
        look_up: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        self._discovered = discovered
        self._clock = clock
        self._look_up = look_up or _addresses_of
        self._hosts: frozenset[str] = frozenset()
        self._hosts_of: frozenset[Address] | None = None
        self._spoken: Recent[str, tuple[str, float]] = Recent(_MOST_HOSTS)
        """From which address each host was spoken for last, and when."""
        self._names: Recent[str, tuple[frozenset[str], float]] = Recent(_MOST_HOSTS)

    async def may_speak(self, requester: Requester, host: str) -> bool:
        """Whether what comes from there can be the word of the host."""
        source = requester.address
        if _canonical(host) == source or await self._is_named(host, source):
            self._note(host, source)
            return True
        may = self._is_other_address(host, source)
        if may:
            self._note(host, source)
        else:
            _log.warning("%s sent an announcement in the name of %s, and it is ignored", source, host)
        return may

    async def _is_named(self, host: str, source: str) -> bool:
        """Whether the host is a name for the address; only for members, so that no caller chooses what is looked up."""
        if _is_address(host) or host not in self._known_hosts():
            return False
        known = self._names.get(host)
        if known is None or self._clock() - known[1] > _NAME_HOLDS_SECONDS:
            addresses: Sequence[str] = ()
            with suppress(OSError, UnicodeError):  # TimeoutError is one
                async with asyncio.timeout(_LOOK_UP_SECONDS):
                    addresses = await self._look_up(host)
            known = frozenset(map(_canonical, addresses)), self._clock()
            self._names.put(host, known)
        return source in known[0]

    def _is_other_address(self, host: str, source: str) -> bool:
        hosts = self._known_hosts()
        if not _is_address(host) or host not in hosts or source in hosts:
            return False
        spoken_from, spoken_at = self._spoken.get(host) or (source, self._clock())
        if spoken_from != source and self._clock() - spoken_at < WAVE_SECONDS:
            return False
        return not any(
            other != host and before == source and self._clock() - at < WAVE_SECONDS
            for other, (before, at) in self._spoken.items()
        )

    def _note(self, host: str, source: str) -> None:
        self._spoken.put(host, (source, self._clock()))

    def _known_hosts(self) -> frozenset[str]:
        discovered = self._discovered()
        if discovered is not self._hosts_of:
            self._hosts_of = discovered
            self._hosts = frozenset(_canonical(address.host) for address in discovered)
        return self._hosts


async def _addresses_of(host: str) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return [str(entry[4][0]) for entry in found]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _canonical(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
