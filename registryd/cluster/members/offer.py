"""A member's statement that it has content; no part of the statement is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.content.source import ContentNotFound, NotForName
from registryd.notation import Address

if TYPE_CHECKING:
    from registryd.cluster.contract.peer import FindAnswer
    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.content.source import Content


@dataclass(frozen=True, slots=True)
class Offer:
    """A member that says it has the content, or the beginning of it. No part of this is proven.

    `sought` is the question. `door` is the port at which the member gives bytes, None when it gives them only by Read.
    `ticket` opens the door without TLS. `busy`: the member asks to be spared. `uploads`: the number of bodies that the
    member is sending, without parts that others could give as well, 0 if the member does not say. `is_receiving`: it is
    getting something from other nodes.
    """

    member: Member
    sought: Sought
    content: Content
    door: Address | None
    busy: bool
    ticket: str = ""
    uploads: int = 0
    is_receiving: bool = False

    @property
    def available(self) -> int:
        """How many bytes from the beginning the member has."""
        return self.content.available

    @property
    def received(self) -> int:
        """How many bytes have come to it, whether or not it may give them yet."""
        return self.content.received

    @property
    def is_first_choice(self) -> bool:
        return not (self.busy or self.content.is_growing)

    @property
    def is_idle(self) -> bool:
        """Whether the member has all of it, and does nothing else for which it needs its link."""
        return self.is_first_choice and not (self.uploads or self.is_receiving)


def offer_of(member: Member, sought: Sought, finding: FindAnswer) -> Offer:
    """The offer in a member's answer. Raises ContentNotFound for a no, NotForName for a no for that name."""
    if finding.is_not_for_name:
        raise NotForName(f"{member.address} does not know it as {sought.repository}'s")
    if finding.content is None:
        raise ContentNotFound(f"{member.address} does not have it")
    if not sought.accepts(finding.content.standing):
        standing = finding.content.standing
        said = (
            f"says that it is {standing.value}" if standing else "does not say whose it is, being of an older version"
        )
        raise NotForName(f"{member.address} {said}")
    port = finding.node.content_port
    door = Address(member.address.host, port) if port else None
    return Offer(
        member,
        sought,
        finding.content,
        door,
        finding.busy,
        finding.ticket,
        finding.uploads,
        finding.is_receiving,
    )
