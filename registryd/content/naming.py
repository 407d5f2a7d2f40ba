"""The contract of knowing all names that a store has, for those who tell others about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.content.source import NamedContent
    from registryd.oci.reference import TaggedName


@dataclass(frozen=True, slots=True)
class Naming:
    """A name, and what it means to one who knows."""

    name: TaggedName
    meaning: NamedContent


class NameInventory(Protocol):
    """A store that can say which names it knows."""

    async def namings(self) -> Collection[Naming]:
        """All that `resolve` would answer to anything. Raises StoreUnavailable."""

    async def wait_renamed(self) -> None:
        """Return when that may have changed since this last returned, at once if it did; for one who waits."""
