"""The contract of a store whose node is a member of the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.content.growing import GrowingSource
from registryd.content.inventory import Inventory
from registryd.content.naming import NameInventory
from registryd.content.provenance import NamedStore

if TYPE_CHECKING:
    from registryd.aio.file_events import Changes
    from registryd.content.sought import Sought
    from registryd.transfer.inflow import Inflows


class MemberStore(NamedStore, GrowingSource, Inventory, NameInventory, Protocol):
    """The content that a member gives to others and announces, and the content that is arriving."""

    def asked(self, sought: Sought) -> bool:
        """Note that containerd asks for what is not here; whether what is arriving of it is for that registry."""

    @property
    def gives_arriving(self) -> bool:
        """Whether this node can give others what it is still receiving: stripes of it, too."""

    @property
    def inflows(self) -> Inflows:
        """The inflows: content that is relayed into this store, for followers."""

    @property
    def arrivals(self) -> Changes:
        """Tells when this node begins or ends to receive something, where that can be seen."""
