"""Connections that have not asked for anything yet: a bounded number, in all and of one address.

Any host that may connect can open such connections without proving anything, and stay silent. So these connections are
closed first to make room for others.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

# The number of connections examined to find a silent one. When many come at the same moment with a request, the loop
# has read none of these yet; examining all of them for each would cost more than they do.
_LOOKED_AT: Final = 64


class Newcomer(Protocol):
    """A connection until it has asked for something."""

    @property
    def address(self) -> str:
        """Where it comes from, without the port."""

    def is_silent(self) -> bool:
        """Whether nothing has come from it that is still to be read."""

    def give_up(self) -> None:
        """End it."""


class NewConnections:
    """In the order in which they came."""

    def __init__(self, *, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._all: OrderedDict[Newcomer, None] = OrderedDict()
        self._of_address: defaultdict[str, OrderedDict[Newcomer, None]] = defaultdict(OrderedDict)

    def __len__(self) -> int:
        return len(self._all)

    def arrive(self, newcomer: Newcomer) -> None:
        """Note a new connection; of too many, end the one that has been silent for longest."""
        neighbours = self._of_address[newcomer.address]
        self._all[newcomer] = neighbours[newcomer] = None
        if len(neighbours) > self._most_of_address:
            self._end_oldest(neighbours)
        if len(self._all) > self._most:
            self._end_oldest(self._all)

    def leave(self, newcomer: Newcomer) -> None:
        """Note that the connection has asked, or is gone; idempotent."""
        if newcomer not in self._all:
            return
        del self._all[newcomer]
        neighbours = self._of_address[newcomer.address]
        del neighbours[newcomer]
        if not neighbours:
            del self._of_address[newcomer.address]

    def make_room(self) -> bool:
        """End the connection that has been silent for longest; returns whether there was one."""
        return self._end_oldest(self._all)

    def _end_oldest(self, among: Iterable[Newcomer]) -> bool:
        for newcomer in islice(among, _LOOKED_AT):
            if newcomer.is_silent():
                self.leave(newcomer)
                newcomer.give_up()
                return True
        return False
