"""The address of this node among its peers, at which it is an index node and a source."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from registryd.cluster.contract.index import NodeLocation
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class KnownMembers(Protocol):
    """The members, as far as a node looks for itself among them."""

    def own_address(self) -> Address | None:
        """This node's own among the addresses that discovery has; None while it is not known which that is."""

    def addresses(self) -> Collection[Address]:
        """The addresses of all other members."""


class OwnPlace:
    """Finds out this node's own address when there is a peer to ask, and again if discovery knows a better one."""

    def __init__(
        self,
        members: KnownMembers,
        *,
        listen: Address,
        advertise: str,
        zone: str,
        zone_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Make it of the settings.

        `listen` is where this node's gRPC is bound, `advertise` the host that others reach it at, if that is set;
        `zone_of` is asked where no `zone` is set.
        """
        self._members = members
        self._listen = listen
        self._advertise = advertise
        self._zone = zone
        self._zone_of = zone_of
        self._guess: Address | None = None

    def __call__(self) -> NodeLocation:
        address = self._members.own_address() or self._guessed()
        return NodeLocation(address, self._zone or self._zone_of(address.host))

    def _guessed(self) -> Address:
        if self._guess is None:
            self._guess = Address(self._host(), self._listen.port)
        return self._guess

    def _host(self) -> str:
        if self._advertise:
            return self._advertise
        ip = _ip(self._listen.host)
        if ip is None or not ip.is_unspecified:
            return self._listen.host
        return _outgoing_host(towards=[address for address in self._members.addresses() if _ip(address.host)])


def _outgoing_host(*, towards: list[Address]) -> str:
    """The address that this machine uses towards others: what they see it come from. Loopback when there is none."""
    for address in towards:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            try:
                probe.connect((address.host, address.port))  # sends nothing: the kernel only chooses a route
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
