"""Peers that announce themselves on the local network (RFC 6762, RFC 6763). The only user of zeroconf.

Imported only when discovery.kind is mdns: it costs 3 MiB.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing, asynccontextmanager, closing
from typing import TYPE_CHECKING, Final

from zeroconf import BadTypeInNameException, InterfaceChoice, NonUniqueNameException, ServiceStateChange
from zeroconf import Error as WrongAnnouncement
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from registryd.aio.scope import run_to_end
from registryd.cluster.members.discovery.contract import Discovery
from registryd.cluster.members.discovery.trouble import DiscoveryTrouble
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from zeroconf import Zeroconf

# The group and port of multicast DNS (RFC 6762 section 3).
_GROUP: Final = ("224.0.0.251", 5353)
# How long discovery asks for a peer's address. The address usually came along with the announcement.
_REQUEST_MILLISECONDS: Final = 1000
# Any host of the network can announce itself; this many are believed.
_MAX_NEIGHBOURS: Final = 1000
# Neighbours whose address is asked for at the same time. One that does not answer costs a second, and any host can
# announce many of them: the others must not wait for each.
_ASKED_AT_ONCE: Final = 64
# A network that is not up yet, or is gone: interfaces appear within seconds of a boot.
_RETRY_SECONDS: Final = 10.0


class MdnsDiscovery(Discovery):
    """Announces this node as `name` at `own` and follows the announcements of the same service type.

    `interface` is the address of the interface to use, empty for all.
    """

    def __init__(self, name: str, own: Address, *, service: str, interface: str) -> None:
        self._own_name = f"{name}.{service}"
        self._own = own
        self._service = service
        self._interfaces = [interface] if interface else InterfaceChoice.All
        self._trouble = DiscoveryTrouble(f"mdns {service}")

    async def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        while True:
            try:
                async with aclosing(self._watch_network()) as changes:
                    async for addresses in changes:
                        self._trouble.is_over()
                        yield addresses
            except (OSError, BadTypeInNameException, NonUniqueNameException) as error:
                self._trouble.begins(f"the network cannot be used ({error})")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _watch_network(self) -> AsyncGenerator[frozenset[Address], None]:
        async with self._announced() as network:
            neighbours = _Neighbours(network, self._own_name)
            browser = AsyncServiceBrowser(network, self._service, handlers=[neighbours.changed])
            try:
                known: frozenset[Address] | None = None
                while True:
                    if (found := neighbours.addresses()) != known:
                        known = found
                        yield found
                    await neighbours.follow_changes()
            finally:
                await browser.async_cancel()

    @asynccontextmanager
    async def _announced(self) -> AsyncIterator[Zeroconf]:
        network = AsyncZeroconf(interfaces=self._interfaces)
        try:
            await network.async_register_service(self._announcement())
            yield network.zeroconf
        finally:
            await run_to_end(_withdraw(network), name="withdraw from mdns")

    def _announcement(self) -> AsyncServiceInfo:
        host = self._own_name.partition(".")[0]
        return AsyncServiceInfo(
            self._service,
            self._own_name,
            port=self._own.port,
            parsed_addresses=[self._own.host],
            server=f"{host}.local.",
        )


async def _withdraw(network: AsyncZeroconf) -> None:
    try:
        await network.async_unregister_all_services()
    finally:
        await network.async_close()


class _Neighbours:
    """The announced neighbours, and those whose announcement has changed since the last look."""

    def __init__(self, network: Zeroconf, own_name: str) -> None:
        self._network = network
        self._own_name = own_name
        self._addresses: dict[str, Address] = {}
        self._pending: dict[tuple[str, str], ServiceStateChange] = {}
        self._has_pending = asyncio.Event()

    def addresses(self) -> frozenset[Address]:
        return frozenset(self._addresses.values())

    def changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Called by the browser; the names of the parameters are its own."""
        if name == self._own_name or zeroconf is not self._network:
            return
        if len(self._addresses) + len(self._pending) < _MAX_NEIGHBOURS or name in self._addresses:
            self._pending[service_type, name] = state_change
            self._has_pending.set()

    async def follow_changes(self) -> None:
        """Wait for the next changes, and look at the latest of them: those that are left come with the next call."""
        await self._has_pending.wait()
        latest = [self._pending.popitem() for _ in range(min(len(self._pending), _ASKED_AT_ONCE))]
        if not self._pending:
            self._has_pending.clear()
        found = await asyncio.gather(*(self._address_after(*each, change) for each, change in latest))
        for ((_, name), _), address in zip(latest, found, strict=True):
            if address is None:
                self._addresses.pop(name, None)
            else:
                self._addresses[name] = address

    async def _address_after(self, service_type: str, name: str, change: ServiceStateChange) -> Address | None:
        return None if change is ServiceStateChange.Removed else await self._address_of(service_type, name)

    async def _address_of(self, service_type: str, name: str) -> Address | None:
        """None for a neighbour that does not say where it is, or says what is no name or address."""
        try:
            info = AsyncServiceInfo(service_type, name)
            if not await info.async_request(self._network, _REQUEST_MILLISECONDS):
                return None
            hosts = info.parsed_scoped_addresses()
            return Address(hosts[0], info.port or 0) if hosts else None
        except (WrongAnnouncement, ValueError):
            return None


def outgoing_host() -> str:
    """The address that this machine would use towards the local network; loopback when it has none."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(_GROUP)  # sends nothing: the kernel only chooses a route
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
