"""Asking many members at once which of them have the content; offers come as they arrive."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from registryd.aio.racing import arrivals
from registryd.cluster.members.offer import Offer, offer_of
from registryd.content.growing import NotArrived
from registryd.content.source import ContentUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought


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
    if finding.content and finding.content.is_growing and not finding.content.available:
        raise NotArrived(f"{member.address} waits for its first byte")
    return offer_of(member, sought, finding)
