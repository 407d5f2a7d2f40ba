"""The members as a node sees them, under a name by which two nodes find out whether they see the same."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.cluster.contract.index import NodeLocation
    from registryd.notation import Address


@dataclass(frozen=True, slots=True)
class View:
    """All members that discovery gives, whether they answer or not, and the node that sees them."""

    addresses: frozenset[Address]
    name: int
    """Of 64 bits, as cluster.proto has it."""

    @classmethod
    def of(cls, addresses: frozenset[Address]) -> Self:
        lines = "".join(f"{line}\n" for line in sorted(map(str, addresses)))
        return cls(addresses, int.from_bytes(blake2b(lines.encode(), digest_size=8).digest()))


class Discovered(Protocol):
    """The members that discovery gives; `registryd.cluster.members.roster.Members` knows them."""

    def discovered(self) -> frozenset[Address]:
        """The addresses of all members; the same object until it changes."""


class CurrentView:
    """The view of a node, made anew when it has changed; None in a cluster of more than `most` members.

    In such a cluster no node asks all members, so no node needs to know whether a member is left to ask.
    """

    def __init__(self, members: Discovered, own_place: Callable[[], NodeLocation], *, most: int) -> None:
        self._members = members
        self._own_place = own_place
        self._most = most
        self._seen: tuple[frozenset[Address], Address] | None = None
        self._view: View | None = None

    def __call__(self) -> View | None:
        seen = self._members.discovered(), self._own_place().address
        if self._seen is None or seen[0] is not self._seen[0] or seen[1] != self._seen[1]:
            self._seen = seen
            self._view = View.of(seen[0] | {seen[1]}) if len(seen[0]) <= self._most else None
        return self._view
