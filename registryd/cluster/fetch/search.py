"""Who has this content? Asked of many members at once; offers come as they arrive."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.racing import arrivals
from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.source import ContentNotFound, ContentUnavailable, NotForName
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from registryd.cluster.members.member import Member
    from registryd.cluster.rpc.codec import Finding
    from registryd.content.sought import Sought
    from registryd.content.source import Content


@dataclass(frozen=True, slots=True)
class Waves:
    """Whom to ask first: `first` members, and all others when those have said no or `patience` seconds have passed.

    Sending costs the asker 0.1 ms for each member, which delays the first answer; a healthy peer takes 1 or 2 ms.
    """

    first: int = 8
    patience: float = 0.005

    def size_of_first(self, count: int) -> int:
        """How many of so many to ask at once: all, when asking the rest costs less than waiting for a second answer."""
        return count if count <= self.first * 3 // 2 else self.first


@dataclass(frozen=True, slots=True)
class Offer:
    """A member that says it has the content, or the beginning of it. Nothing of this is proven.

    `sought` is what was asked for. `door` is where it gives bytes, None when only Read does; `ticket` is what opens it
    without TLS; `busy`: the member asks to be spared.
    """

    member: Member
    sought: Sought
    content: Content
    door: Address | None
    busy: bool
    ticket: str = ""

    @property
    def available(self) -> int:
        """How many bytes from the beginning the member has."""
        return self.content.available if isinstance(self.content, GrowingContent) else self.content.size

    @property
    def received(self) -> int:
        """How many bytes have come to it, whether or not it may give them yet."""
        return self.content.received if isinstance(self.content, GrowingContent) else self.content.size

    @property
    def is_first_choice(self) -> bool:
        return not (self.busy or isinstance(self.content, GrowingContent))


async def offers(members: Sequence[Member], sought: Sought, waves: Waves) -> AsyncGenerator[Offer, None]:
    """Yield offers as they arrive; then those of members that are still receiving, the furthest first; busy ones last.

    Raises AllFailed when there is none; close it when done.
    """
    others: list[Offer] = []
    attempts = [partial(_ask, member, sought) for member in members]
    first = waves.size_of_first(len(attempts))
    asking = arrivals((attempts[:first], attempts[first:]), expected=ContentUnavailable, patience=waves.patience)
    async with aclosing(asking) as answers:
        async for offer in answers:
            if offer.is_first_choice:
                yield offer
            else:
                others.append(offer)
    for offer in sorted(others, key=lambda offer: (offer.busy, -offer.available)):
        yield offer


async def _ask(member: Member, sought: Sought) -> Offer:
    finding = await member.find(sought)
    if isinstance(finding.content, GrowingContent) and not finding.content.available:
        raise NotArrived(f"{member.address} waits for its first byte")
    return offer_of(member, sought, finding)


def offer_of(member: Member, sought: Sought, finding: Finding) -> Offer:
    """What a member's answer comes to. Raises ContentNotFound when it is a no, NotForName when it is for that name."""
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
    return Offer(member, sought, finding.content, door, finding.busy, finding.ticket)
