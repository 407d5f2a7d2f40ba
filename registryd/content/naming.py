"""The contract of a full list of a store's names, for announcements to index nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from registryd.content.source import NamedContent
    from registryd.oci.reference import TaggedName


@dataclass(frozen=True, slots=True)
class Naming:
    """A name, and its meaning on one node."""

    name: TaggedName
    meaning: NamedContent


class NameInventory(Protocol):
    """A store that can say which names it knows."""

    async def namings(self) -> Collection[Naming]:
        """All names and meanings that `resolve` would answer. Raises StoreUnavailable."""

    async def wait_renamed(self) -> None:
        """Return when `namings` may have changed since the last return, at once if it did; for one waiting task."""
