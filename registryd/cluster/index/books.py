"""How far an index node knows the content of each member: which members told everything, and which may have more.

The waves keep what members told. The books only say whether anything is missing there. What a silent member told before
stays known, so no node has to ask it. A silent member cannot have new content that it did not announce, unless it can
reach other nodes and not this one. Then this index node does not know the new content until the member reaches it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from registryd.cluster.contract.index import Announcement
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.index.view import View
    from registryd.notation import Address

# Four times the largest cluster that was simulated: only a member that makes up names comes near.
_MOST_HOLDERS: Final = 20_000


@dataclass(slots=True)
class _Account:
    """The last statement of one member. `lacks`: this node has forgotten a part of what the member told."""

    process: NodeId | None
    view: int = 0
    is_complete: bool = False
    told_at: float = 0.0
    lacks: bool = False


class Books:
    """One account for each member that has told anything."""

    def __init__(self, own_id: NodeId, *, lifetime: float) -> None:
        """`lifetime`: seconds after which an unconfirmed statement is not believed any more."""
        self._own_id = own_id
        self._lifetime = lifetime
        self._accounts: OrderedDict[Address, _Account] = OrderedDict()
        self._renewed: set[Address] = set()

    def take(self, announcement: Announcement, now: float) -> None:
        """Note what an announcement says of all that the holder has."""
        address = announcement.holder.address
        account = self._accounts.get(address)
        if account is None or account.process != announcement.process:
            account = _Account(announcement.process)
            self._renewed.add(address)
        account.view = announcement.view
        account.is_complete = announcement.complete_at == self._own_id
        account.told_at = now
        self._accounts[address] = account
        self._accounts.move_to_end(address)
        if len(self._accounts) > _MOST_HOLDERS:
            self._accounts.popitem(last=False)

    def lack(self, address: Address) -> None:
        """Something of what that member told was forgotten for want of room: its account is not whole any more."""
        if address in self._accounts:
            self._accounts[address].lacks = True

    def unheard(self, view: View, now: float) -> tuple[Address, ...]:
        """The members of the view that may have content of which this node does not know."""
        return tuple(address for address in view.addresses if not self._is_known(address, view, now))

    def process_of(self, address: Address) -> NodeId | None:
        """Which process spoke there last."""
        account = self._accounts.get(address)
        return account.process if account else None

    def take_renewed(self) -> set[Address]:
        """The addresses where another process spoke than before, since the last call."""
        renewed, self._renewed = self._renewed, set()
        return renewed

    def _is_known(self, address: Address, view: View, now: float) -> bool:
        account = self._accounts.get(address)
        if account is None or account.lacks or now - account.told_at > self._lifetime:
            return False
        return account.is_complete and account.view == view.name
