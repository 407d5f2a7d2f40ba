"""Near or far."""

from __future__ import annotations

import pytest

from registryd.cluster.members.zones import Zones
from registryd.observability.metrics import Nearness


class Told:
    def zone_of(self, host: str) -> str:
        return {"10.0.0.1": "a", "10.0.0.2": "b"}.get(host, "")


@pytest.mark.parametrize(
    ("host", "own", "nearness"),
    [
        ("10.0.0.1", "a", Nearness.SAME_ZONE),
        ("10.0.0.2", "a", Nearness.OTHER_ZONE),
        ("10.0.0.3", "a", Nearness.UNKNOWN),
        ("10.0.0.1", "", Nearness.UNKNOWN),
    ],
)
def test_a_peer_is_near_when_both_zones_are_known_and_the_same(host: str, own: str, nearness: Nearness) -> None:
    zones = Zones()
    assert zones.nearness_of(host) is Nearness.UNKNOWN
    zones.follow(Told().zone_of, lambda: own)
    assert zones.nearness_of(host) is nearness
