"""The contract of knowing all that a store has, for those who tell others about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Stock:
    """What a store has at a moment: `held` is whole, `arriving` is on its way; either may name what peers do not get.

    `is_complete`: peers find nothing in the store that is not in this, and will find nothing new of which
    `Inventory.wait_changed` does not tell within milliseconds. False for a store that cannot promise that.
    """

    held: frozenset[Digest] = frozenset()
    arriving: frozenset[Digest] = frozenset()
    is_complete: bool = False


class Inventory(Protocol):
    """A store that can say what it has."""

    async def stock(self) -> Stock:
        """All that peers may be given now. Raises StoreUnavailable."""

    async def wait_changed(self) -> None:
        """Return when that may have changed since this was last called; at once if it did meanwhile."""
