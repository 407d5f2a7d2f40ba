"""The sources of one request, in their order, and what follows when one of them does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from registryd.aio.racing import AllFailed
from registryd.cluster.errors import ContentCorrupt, PeerFailed
from registryd.content.source import NotForName
from registryd.transfer.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.cluster.fetch.named import NamedSources
    from registryd.cluster.members.offer import Offer
    from registryd.notation import Address


class Judge(Protocol):
    """Remembers members from one request to the next; `registryd.cluster.fetch.locator.MemberLocator` is one."""

    def is_avoided(self, offer: Offer) -> bool:
        """Whether the member failed lately for this digest."""

    def lost(self, offer: Offer, reason: Exception) -> None:
        """The member failed, for this reason: SourceBroken, ContentCorrupt or PeerFailed."""

    def pass_by(self, offer: Offer) -> None:
        """The member gives this request nothing; the next request may ask it."""

    def not_for_name(self, offer: Offer) -> None:
        """The member gives the content for other names."""


class SourcePlan:
    """Gives the sources of one request one at a time.

    First come the `named` sources, which the index nodes name, in their order, each when it has the first wanted byte.
    Then come the sources that the `search` finds: members with whole content as they answer, then members that are
    still receiving it, the furthest first, then the busy ones.

    Consequences of a source that does not help:

    | the source | here | by later requests for the digest | told to index nodes |
    | --- | --- | --- | --- |
    | breaks, is silent, gives wrong bytes | the next is tried | it is not asked for a while | failed |
    | is cut off: there is no way to it | the next is tried | it is asked once more, if it is there | failed |
    | declines: is busy, not so far, of another size | the next is tried | it is asked | failed |
    | gives the content for other names only | the next is tried | not for this name, for a while | unfit |
    | is receiving it, has not opened after three seconds | the next is tried as well | it is asked | failed |
    | has it whole, has not opened after one (`named.py`) | the next is tried as well | it is asked | failed |
    | is slow while it gives (`Failover.leave`) | a new plan is made | it is asked if no other node has it | slow |
    | is busy, and again, after the beginning | another is asked | it is not asked for some seconds | failed |
    | breaks off while it gives (`Failover.reopen`) | a new plan is made | it is not asked for a while | failed |
    | is cut off while it gives | a new plan is made | it is asked once more, if it is there | failed |

    Index nodes are told with the next claim. When containerd asks for the same bytes again, because no other host had
    them, those are asked that are not asked for a while else (`registryd.cluster.health.coming_back`).
    """

    def __init__(
        self, judge: Judge, *, named: NamedSources | None = None, search: AsyncGenerator[Offer, None] | None = None
    ) -> None:
        self._judge = judge
        self._named = named
        self._search = search
        self._opening: set[Address] = set()
        self._failed: set[Address] = set()
        """A search may have its answer from before it failed."""

    async def next(self) -> Offer | None:
        """The source to try now; None when all were tried. The caller closes the plan in any case.

        Raises AllFailed when the search finds no source; NotArrived, Pressed, AskAgain as `NamedSources` does. No
        source comes after that.
        """
        offer = await self._next()
        while offer is not None and offer.member.address in self._opening | self._failed:
            if self._named is not None:
                self._named.ended(offer)
            offer = await self._next()
        if offer is not None:
            self._opening.add(offer.member.address)
        return offer

    async def _next(self) -> Offer | None:
        if self._named is not None:
            if (offer := await self._next_named(self._named)) is not None:
                return offer
            self._named = None
        try:
            return None if self._search is None else await anext(self._search, None)
        except AllFailed:
            if self._opening:  # which may still give it, or else says why not
                return None
            raise

    async def _next_named(self, named: NamedSources) -> Offer | None:
        while (offer := await named.next()) is not None:
            if not self._judge.is_avoided(offer):
                return offer
            self._judge.pass_by(offer)
            named.ended(offer)
        return None

    def failed(self, offer: Offer, reason: Exception) -> None:
        """A source that `next` gave did not open, for this reason."""
        self._opening.discard(offer.member.address)
        match reason:
            case SourceBroken() | ContentCorrupt() | PeerFailed():
                self._failed.add(offer.member.address)
                self._judge.lost(offer, reason)
            case NotForName():
                self._judge.not_for_name(offer)
            case _:
                self._judge.pass_by(offer)
        if self._named is not None:
            self._named.ended(offer)

    async def aclose(self) -> None:
        """End the search; idempotent."""
        if self._search is not None:
            await self._search.aclose()
