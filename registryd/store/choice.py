"""The store that the settings ask for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from registryd.content.growing import GrowingSource
from registryd.content.inventory import Inventory
from registryd.content.naming import NameInventory
from registryd.content.source import ContentSource, NameSource
from registryd.settings import StoreKind
from registryd.store.socket import is_containerd_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from registryd.aio.file_events import Changes
    from registryd.content.description import StoreDescription
    from registryd.oci.digest import Digest
    from registryd.settings import StoreSettings
    from registryd.transfer.inflow import Inflows


class NodeStore(ContentSource, GrowingSource, NameSource, Inventory, NameInventory, Protocol):
    """All that an agent needs of the store of its node."""

    @property
    def inflows(self) -> Inflows:
        """Where whoever relays content into this store shows it to those who get it from here."""

    @property
    def arrivals(self) -> Changes:
        """Tells when this node begins or ends to receive something, where that can be seen."""

    async def withdraw(self, digest: Digest) -> None:
        """Take a copy that is not what its digest says out of the way, where the store is ours to change.

        Raises StoreUnavailable.
        """

    async def describe(self) -> StoreDescription:
        """What it is and has, from memory. Raises StoreUnavailable."""

    async def check(self) -> None:
        """Return if it can answer right now; raises StoreUnavailable with the reason otherwise."""


def chosen_kind(settings: StoreSettings) -> StoreKind:
    """What `auto` stands for on this machine: containerd if its socket is there."""
    if settings.kind is not StoreKind.AUTO:
        return settings.kind
    return StoreKind.CONTAINERD if is_containerd_at(settings.containerd_socket) else StoreKind.DIRECTORY


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncIterator[NodeStore]:
    """The store for the length of the block; only what it needs is imported.

    containerd may be away and is not waited for. Raises StoreUnavailable for a directory that cannot be used.
    """
    if chosen_kind(settings) is StoreKind.CONTAINERD:
        from registryd.store.containerd.connect import connect_containerd_store  # noqa: PLC0415

        async with connect_containerd_store(settings) as containerd:
            yield containerd
    else:
        from registryd.store.directory.store import open_directory_store  # noqa: PLC0415

        async with open_directory_store(settings.directory) as directory:
            yield directory
