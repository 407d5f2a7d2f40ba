"""What a node calls itself, and where it is."""

from __future__ import annotations

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.members.own_place import OwnPlace
from registryd.notation import Address

OWN = Address("10.0.0.1", 3173)
OTHER = Address("10.0.0.2", 3173)
LISTEN = Address("0.0.0.0", 3173)


class Roster:
    """Members, as far as a node looks for itself among them."""

    def __init__(self) -> None:
        self.own: Address | None = None

    def own_address(self) -> Address | None:
        return self.own

    def addresses(self) -> tuple[Address, ...]:
        return ()


class Zones:
    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def zone_of(self, host: str) -> str:
        return self.known.get(host, "")


def test_the_address_that_discovery_has_counts_more_than_the_one_that_is_advertised() -> None:
    roster = Roster()
    place = OwnPlace(roster, listen=LISTEN, advertise=OTHER.host, zone="a")
    assert place() == NodeLocation(OTHER, "a")
    roster.own = OWN
    assert place() == NodeLocation(OWN, "a")


def test_where_no_zone_is_set_discovery_is_asked_each_time() -> None:
    zones = Zones()
    place = OwnPlace(Roster(), listen=LISTEN, advertise=OWN.host, zone="", zone_of=zones.zone_of)
    assert place() == NodeLocation(OWN, "")
    zones.known[OWN.host] = "zone-1"
    assert place() == NodeLocation(OWN, "zone-1")
    assert OwnPlace(Roster(), listen=LISTEN, advertise=OWN.host, zone="set", zone_of=zones.zone_of)() == NodeLocation(
        OWN, "set"
    )
