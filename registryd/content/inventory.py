"""The contract of a full list of a store's content, for announcements to index nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from registryd.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Stock:
    """The content of a store at a moment: `held` is whole, `arriving` is not; peers need not get all that these name.

    `is_complete`: peers find no content in the store that is not listed here, and `Inventory.wait_changed` returns
    within milliseconds when peers can find new content. False for a store that cannot promise that.
    """

    held: frozenset[Digest] = frozenset()
    arriving: frozenset[Digest] = frozenset()
    is_complete: bool = False


class Inventory(Protocol):
    """A store that can say what it has."""

    async def stock(self) -> Stock:
        """All content that peers may get now. Raises StoreUnavailable."""

    async def wait_changed(self) -> None:
        """Return when that may have changed since this was last called; at once if it did meanwhile."""
