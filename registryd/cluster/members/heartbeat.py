"""Checks whether members are still alive, if this node has not asked them anything for a while.

In a small cluster each node asks all others. In a larger one it asks its neighbours in a circle of all members. So some
nodes watch every member, and the cost does not grow with the cluster.
"""

from __future__ import annotations

import asyncio
import random
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.members.member import MemberState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from registryd.cluster.members.member import Member
    from registryd.notation import Address

# Up to so many others are all watched. Each connection that is kept costs 58 to 90 KB at either end (limits.IDLE_...).
ALL_WATCHED: Final = 16
# Neighbours on each side otherwise: eight watch each member, and it would take all of them to miss its end.
_ON_EACH_SIDE: Final = 4
# Seconds. A member that has answered nothing for so long is asked; it is looked for such members every round. With two
# questions of a second each (peers.find_timeout) before silence is believed, the end of a member is noticed within 13.
_QUIET: Final = (8.0, 9.0)
_ROUND: Final = 2.0


class WatchedMembers(Protocol):
    """The members; `registryd.cluster.members.roster.Members` is that."""

    def discovered(self) -> frozenset[Address]:
        """The addresses of all members; the same object until it changes."""

    def get(self, address: Address) -> Member | None:
        """The member at an address, if it may be asked."""


class Heartbeat:
    """Asks the watched members that are available; Members looks after members that are set aside."""

    def __init__(self, members: WatchedMembers, own_address: Callable[[], Address]) -> None:
        self._members = members
        self._own_address = own_address
        self._seen: tuple[frozenset[Address], Address] | None = None
        self._watched: Collection[Address] = ()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(_ROUND)
            quiet = self._quiet()
            async with asyncio.TaskGroup() as group:
                for member in quiet:
                    group.create_task(member.probe(again=True), name=f"heartbeat {member.address}")

    def _quiet(self) -> list[Member]:
        now = asyncio.get_running_loop().time()
        members = [member for address in self._addresses() if (member := self._members.get(address))]
        # At times of their own: nodes that were started together need not ask together for ever.
        return [member for member in members if _is_asked(member) and now - member.heard_at >= random.uniform(*_QUIET)]  # noqa: S311

    def _addresses(self) -> Collection[Address]:
        seen = self._members.discovered(), self._own_address()
        if self._seen is None or seen[0] is not self._seen[0] or seen[1] != self._seen[1]:
            self._seen, self._watched = seen, watched(*seen)
        return self._watched


def watched(addresses: Collection[Address], own: Address) -> Collection[Address]:
    """Whom the node at `own` watches among all members."""
    others = [address for address in addresses if address != own]
    if len(others) <= ALL_WATCHED:
        return others
    # By a hash: nodes that stand in one rack, and end together, have addresses in a row.
    circle = sorted(others, key=_key)
    at = sum(_key(address) < _key(own) for address in circle)
    return [circle[(at + step) % len(circle)] for step in range(-_ON_EACH_SIDE, _ON_EACH_SIDE)]


def _is_asked(member: Member) -> bool:
    return member.state is not MemberState.SELF


def _key(address: Address) -> bytes:
    return blake2b(str(address).encode(), digest_size=8).digest()
