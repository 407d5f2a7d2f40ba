"""Whether there is anybody to whom a request could turn instead."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from registryd.aio.racing import AllFailed

if TYPE_CHECKING:
    from registryd.cluster.fetch.locator import MemberLocator
    from registryd.cluster.members.offer import Offer


async def somebody_else_offers(locator: MemberLocator, offer: Offer) -> bool:
    """Whether another member has the same content whole and is not busy; takes as long as a search does."""
    try:
        async with aclosing(locator.offers(offer.sought)) as offers:
            async for other in offers:
                if is_as_good(other, offer):
                    return True
    except AllFailed:
        pass
    return False


def is_as_good(other: Offer, offer: Offer) -> bool:
    """Whether this is another member's, of the same content whole, and that one does not ask to be spared."""
    is_whole = not other.content.is_growing
    return other.member is not offer.member and is_whole and not other.busy and other.content.size == offer.content.size
