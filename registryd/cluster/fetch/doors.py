"""Where members give bytes: which doors may be asked at once, and which are passed by for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.aio.expiring import ExpiringSet
from registryd.notation import Address

if TYPE_CHECKING:
    from registryd.cluster.members.member import Member

# How long a door that could not be reached is passed by. Each try may cost its connect_timeout.
_CLOSED_SECONDS: Final = 30.0
# How long a member is asked before its door, when the door gave nothing unasked. Each try costs a request in vain; an
# agent of an older version never gives anything so.
_ASKED_FIRST_SECONDS: Final = 30.0
_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class OwnPorts:
    """The ports at which this node answers peers and gives them bytes.

    A member that has not said yet where it gives bytes, and answers at the same port as this node, most likely gives
    bytes at the same port, too: the agents of a cluster have the same settings. So of another node's ports only one of
    these two is tried without that node's word.
    """

    answers: int
    gives: int


class Doors:
    """What this node knows of the members' doors."""

    def __init__(self, own: OwnPorts | None = None) -> None:
        """Without `own`, every member is asked what it has before its door is asked for the bytes."""
        self._own = own
        self._closed: ExpiringSet[Address] = ExpiringSet(lifetime=_CLOSED_SECONDS, capacity=_REMEMBERED)
        self._asked_first: ExpiringSet[Address] = ExpiringSet(lifetime=_ASKED_FIRST_SECONDS, capacity=_REMEMBERED)

    def unasked(self, member: Member) -> Address | None:
        """The member's door, which may be asked for bytes at once; None: the member is to be asked before."""
        if self._own is None or member.address in self._asked_first:
            return None
        port = member.content_port
        if port is None and member.address.port == self._own.answers:
            port = self._own.gives
        door = Address(member.address.host, port) if port else None
        return None if door is None or door in self._closed else door

    def ask_first(self, member: Member) -> None:
        """Ask this member before its door for a while."""
        self._asked_first.add(member.address)

    def is_closed(self, door: Address) -> bool:
        """Whether it could not be reached lately."""
        return door in self._closed

    def close(self, door: Address) -> None:
        """Note that it cannot be reached."""
        self._closed.add(door)
