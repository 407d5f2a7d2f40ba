"""Announcing this node's names to index nodes, in clusters too large to ask all members.

The `Announcer` does the work: it announces digests, and each statement about a name has a digest, which is its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.index import Receipt
from registryd.cluster.contract.names import NameAnnouncement
from registryd.cluster.contract.node import NodeId
from registryd.cluster.errors import PeerDeclined, PeerOutdated
from registryd.cluster.index.naming import naming_key
from registryd.cluster.index_client.announcing import Announcer
from registryd.cluster.rpc.name_codec import MAX_NAMINGS
from registryd.content.inventory import Stock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from registryd.cluster.contract.index import Announcement, NodeLocation
    from registryd.cluster.index.names import NameIndexState
    from registryd.cluster.index_client.index_nodes import Roster
    from registryd.content.naming import NameInventory, Naming
    from registryd.notation import Address
    from registryd.oci.digest import Digest

_NOBODY: Final[frozenset[Address]] = frozenset()
# The receipt in the name of an index node of an older version, which cannot take names: it is told again with
# everything else, half an hour later.
_OUTDATED: Final = NodeId("outdated")


def announce_names(  # noqa: PLR0913 - what is told, to whom, by whom, all named
    names: NameInventory,
    roster: Roster,
    desk: NameIndexState,
    *,
    own_id: NodeId,
    own_place: Callable[[], NodeLocation],
    above: int,
) -> Announcer:
    """An announcer of names; nothing is announced while there are no more than `above` members."""
    keys = NameKeys(names)
    listeners = _Listeners(roster, keys, above)
    return Announcer(keys, listeners, _OwnDesk(desk, keys), own_id=own_id, own_place=own_place, view=lambda: None)


class NameKeys:
    """An Inventory of the keys of what a store knows of names."""

    def __init__(self, names: NameInventory) -> None:
        self._names = names
        self._namings: dict[Digest, Naming] = {}

    async def stock(self) -> Stock:
        self._namings = {naming_key(naming): naming for naming in await self._names.namings()}
        return Stock(frozenset(self._namings))

    async def wait_changed(self) -> None:
        await self._names.wait_renamed()

    def spelt_out(self, announcement: Announcement) -> Iterator[NameAnnouncement]:
        """The statements behind the keys, in as many parts as the messages need, and at least one."""
        holder, held = announcement.holder.address, announcement.held
        yield NameAnnouncement(holder, self._of(held[:MAX_NAMINGS]), is_all=announcement.is_all)
        for start in range(MAX_NAMINGS, len(held), MAX_NAMINGS):
            yield NameAnnouncement(holder, self._of(held[start : start + MAX_NAMINGS]))
        if announcement.dropped:
            yield NameAnnouncement(holder, {}, announcement.dropped)

    def _of(self, keys: Sequence[Digest]) -> dict[Digest, Naming]:
        return {key: self._namings[key] for key in keys}


class _Listeners:
    """The members as receivers of names: none, while the cluster is small enough to ask all members."""

    def __init__(self, roster: Roster, keys: NameKeys, above: int) -> None:
        self._roster = roster
        self._keys = keys
        self._above = above

    def addresses(self) -> frozenset[Address]:
        addresses = self._roster.addresses()
        return addresses if len(addresses) > self._above else _NOBODY

    def get(self, address: Address) -> _Listener | None:
        member = self._roster.get(address)
        return None if member is None else _Listener(member.announce_names, self._keys)


class _Listener:
    """One of them."""

    def __init__(self, tell: Callable[[NameAnnouncement], Awaitable[Receipt]], keys: NameKeys) -> None:
        self._tell = tell
        self._keys = keys

    async def announce(self, announcement: Announcement) -> Receipt:
        try:
            receipts = [await self._tell(part) for part in self._keys.spelt_out(announcement)]
        except PeerOutdated:
            return Receipt(_OUTDATED)
        if any(receipt != receipts[0] for receipt in receipts):
            raise PeerDeclined("another process took its place meanwhile")
        return receipts[0]


class _Nobody:
    """Speakers of whom nothing is remembered: index nodes of names say which process they are when they are told."""

    def take_renewed(self) -> frozenset[Address]:
        return _NOBODY

    def process_of(self, address: Address) -> None:  # noqa: ARG002 - none of them
        return None


class _OwnDesk:
    """This node as one of its own index nodes."""

    books = _Nobody()

    def __init__(self, desk: NameIndexState, keys: NameKeys) -> None:
        self._desk = desk
        self._keys = keys

    def announce(self, announcement: Announcement) -> Receipt:
        receipts = [self._desk.announce(part) for part in self._keys.spelt_out(announcement)]
        return receipts[-1]
