"""The contract of knowing all that a store has, for those who tell others about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from registryd.oci.digest import Digest


class Inventory(Protocol):
    """A store that can say what it has."""

    async def digests(self) -> frozenset[Digest]:
        """All whole content that peers may be given now. Raises StoreUnavailable."""

    async def wait_changed(self) -> None:
        """Return when that may have changed since this was last called; at once if it did meanwhile."""
