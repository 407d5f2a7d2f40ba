"""The contract of discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.notation import Address


class Discovery(Protocol):
    """Knows the addresses at which peers answer gRPC; this node's own may be among them."""

    def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        """Yield the set of addresses as soon as it is known, and again after each change. Never ends; close it.

        When discovery cannot find out the set, the last set stands and nothing is yielded: peers that were there are
        more likely there than gone. Discovery logs the failure once, and its end once.
        """


@runtime_checkable
class KnowsZones(Protocol):
    """A discovery that is told, besides addresses, in which zone each is."""

    def zone_of(self, host: str) -> str:
        """The zone of the peer, or this node, at this IP address; empty when it is not known."""
