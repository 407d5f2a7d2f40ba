"""Whether a peer is near: in this node's zone, as far as discovery is told of zones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.observability.metrics import Nearness

if TYPE_CHECKING:
    from collections.abc import Callable


class Zones:
    """Asked by the doors, which are open before discovery begins; until then no zone is known."""

    def __init__(self) -> None:
        self._zone_of: Callable[[str], str] = lambda _: ""
        self._own: Callable[[], str] = str

    def follow(self, zone_of: Callable[[str], str], own: Callable[[], str]) -> None:
        """Set the zones: of the peer at an IP address, and this node's own zone; empty while they are not known."""
        self._zone_of, self._own = zone_of, own

    def own(self) -> str:
        """This node's; empty while it is not known."""
        return self._own()

    def at(self, host: str) -> str:
        """The zone of the peer at this IP address; empty while it is not known."""
        return self._zone_of(host)

    def nearness_of(self, host: str) -> Nearness:
        """Of the peer at this IP address."""
        theirs, own = self._zone_of(host), self._own()
        if not theirs or not own:
            return Nearness.UNKNOWN
        return Nearness.SAME_ZONE if theirs == own else Nearness.OTHER_ZONE
