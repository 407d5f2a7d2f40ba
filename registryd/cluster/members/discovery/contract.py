"""The contract of discovery."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.notation import Address


class Discovery(ABC):
    """Knows the addresses at which peers answer gRPC; this node's own may be among them."""

    @abstractmethod
    def watch(self) -> AsyncGenerator[frozenset[Address], None]:
        """Yield the set of addresses as soon as it is known, and again after each change. Never ends; close it.

        When discovery cannot find out the set, the last set stands and nothing is yielded: peers that were there are
        more likely there than gone. Discovery logs the failure once, and its end once.
        """

    def zone_of(self, host: str) -> str:  # noqa: ARG002 - most learn addresses only
        """The zone of the peer, or this node, at this IP address; empty when it is not known."""
        return ""
