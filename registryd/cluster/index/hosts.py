"""How many places, and in how many zones, one host may say that it is."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.index import NodeLocation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registryd.notation import Address

# Agents at different ports of one host: one, and one more while it is exchanged; behind an address that is translated
# (NAT) as many as there are nodes.
_MOST_PLACES: Final = 64
# Four times the largest cluster that was simulated.
_MOST_HOSTS: Final = 20_000


@dataclass(slots=True)
class _Host:
    zone: str
    zone_since: float
    places: OrderedDict[Address, None] = field(default_factory=OrderedDict)
    """In the order in which they were last heard of."""


class Hosts:
    """The statements of hosts about themselves."""

    def __init__(self, *, lifetime: float) -> None:
        """A host keeps its zone for `lifetime` seconds: each zone is looked through for each claim."""
        self._lifetime = lifetime
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def enter(self, place: NodeLocation, now: float) -> tuple[NodeLocation, Iterable[Address]]:
        """The place in the form to keep, and the places to forget for it."""
        name, address = place.address.host, place.address
        host = self._hosts.setdefault(name, _Host(place.zone, now))
        self._hosts.move_to_end(name)
        if host.zone != place.zone and now - host.zone_since >= self._lifetime:
            host.zone, host.zone_since = place.zone, now
        host.places[address] = None
        host.places.move_to_end(address)
        forgotten = []
        if len(host.places) > _MOST_PLACES:
            forgotten.append(host.places.popitem(last=False)[0])
        if len(self._hosts) > _MOST_HOSTS:
            _, oldest = self._hosts.popitem(last=False)
            forgotten.extend(oldest.places)
        return (place if place.zone == host.zone else NodeLocation(address, host.zone)), forgotten

    def addresses_of(self, name: str) -> Iterable[Address]:
        """The addresses that the host has said to be its own."""
        host = self._hosts.get(name)
        return host.places if host else ()
