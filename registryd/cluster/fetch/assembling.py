"""Large content from several members at once: which members give parts, and how the agent asks them."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from registryd.aio.racing import AllFailed
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.members.offer import offer_of
from registryd.content.source import ContentUnavailable
from registryd.transfer.assembled import BEGINNING_BYTES, LEAST_BYTES, AssembledBody
from registryd.transfer.errors import SourceBroken, SourceBusy
from registryd.transfer.link_room import LinkRoom
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.comparison import ComparisonCheck
from registryd.transfer.monitoring.rates import RecentRates
from registryd.transfer.slots import SlotMemory
from registryd.transfer.together import MOST_AT_ONCE
from registryd.transfer.uploads import Part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from registryd.cluster.fetch.locator import MemberLocator
    from registryd.cluster.fetch.opening import Opener
    from registryd.cluster.health.attribution import DeliveryAttribution
    from registryd.cluster.members.offer import Offer
    from registryd.content.source import Content, OpenContent
    from registryd.notation import Address
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body

# Beside the first, and some that turn out to be busy or gone.
_ASKED: Final = MOST_AT_ONCE + 1


class Assembler:
    """Makes bodies of what several members have whole; without `memory`, of what one at a time gives."""

    def __init__(
        self,
        locator: MemberLocator,
        opener: Opener,
        *,
        blame: DeliveryAttribution,
        lost: Callable[[Offer, SourceBroken], None],
        memory: SlotMemory | None = None,
    ) -> None:
        """`lost` is told of each source that broke off, and why."""
        self._locator = locator
        self._lost = lost
        self._opener = opener
        self._blame = blame
        self._memory = memory or SlotMemory()
        self._rates = RecentRates()
        self._link = LinkRoom()

    def beginning(self, content: Content, span: Span) -> Span:
        """The part to ask of the first source: less than the span when other sources are to give the rest."""
        is_worth_it = span.length >= LEAST_BYTES and self._may_give_parts(content)
        return span.first(BEGINNING_BYTES) if is_worth_it else span

    def body(self, offer: Offer, opened: OpenContent) -> Body:
        """The whole span, of which the first source gives all or the beginning."""
        compared = partial(self._compared, offer)
        if opened.body.length == opened.span.length and not self._may_give_parts(opened.content):
            return compared(opened.body)
        return AssembledBody(
            _PeerSupplier(self, offer, Part.NEXT),
            opened.body,
            opened.span,
            others=partial(self._others, offer),
            memory=self._memory,
            rates=self._rates,
            link=self._link,
            compared=compared,
        )

    def _may_give_parts(self, content: Content) -> bool:
        """Whether several sources may."""
        return self._memory.is_enough and not content.is_growing and self._blame.may_be_shared_out(content.digest)

    async def open_part(self, offer: Offer, span: Span, part: Part) -> Body:
        """Ask its member. Raises ContentUnavailable, SourceBroken."""
        body = await self._opener.open_part(offer, span, part)
        self._blame.gave(offer, from_start=False)
        return body

    def failed(self, offer: Offer, reason: SourceBroken) -> None:
        """Note that the member of this source broke off."""
        self._lost(offer, reason)

    def _compared(self, offer: Offer, body: Body) -> Body:
        """A body that is left when the source gives much less than others that have it."""
        has_other = partial(_somebody_else_offers, self._locator, offer)
        return MonitoredBody(body, ComparisonCheck(offer.member.address, self._rates, has_other))

    async def _others(self, offer: Offer) -> AsyncGenerator[_PeerSupplier, None]:
        try:
            async with aclosing(self._locator.several(offer.sought, _ASKED)) as offers:
                async for other in offers:
                    if _is_as_good(other, offer):
                        yield _PeerSupplier(self, other, Part.EXTRA)
        except ContentUnavailable:
            pass


class _PeerSupplier:
    """A member that gives parts of what it offered."""

    def __init__(self, assembler: Assembler, offer: Offer, part: Part) -> None:
        self._assembler = assembler
        self._offer = offer
        self._part = part

    @property
    def source(self) -> Address:
        return self._offer.member.address

    async def open(self, span: Span) -> Body:
        try:
            return await self._open(span)
        except PeerDeclined as reason:
            _require_not_busy(reason)
        except ContentUnavailable as reason:
            raise SourceBroken(str(reason)) from reason
        try:  # its ticket may have expired
            await self._find_again()
            return await self._open(span)
        except ContentUnavailable as reason:
            _require_not_busy(reason)
            raise SourceBroken(str(reason)) from reason

    def failed(self, reason: SourceBroken) -> None:
        self._assembler.failed(self._offer, reason)

    async def _open(self, span: Span) -> Body:
        return await self._assembler.open_part(self._offer, span, self._part)

    async def _find_again(self) -> None:
        """Raises ContentUnavailable."""
        member, content = self._offer.member, self._offer.content
        sought = self._offer.sought
        found = offer_of(member, sought, await member.find(sought))
        if found.content.is_growing or found.content.size != content.size:
            raise PeerDeclined(f"{member.address} has something else now")
        self._offer = found


def _require_not_busy(reason: ContentUnavailable) -> None:
    if isinstance(reason.__cause__, SourceBusy):
        raise reason.__cause__


async def _somebody_else_offers(locator: MemberLocator, offer: Offer) -> bool:
    """Whether another member has the same content whole and is not busy; takes as long as a search does."""
    try:
        async with aclosing(locator.offers(offer.sought)) as offers:
            async for other in offers:
                if _is_as_good(other, offer):
                    return True
    except AllFailed:
        pass
    return False


def _is_as_good(other: Offer, offer: Offer) -> bool:
    """Whether this is another member's, of the same content whole, and that one does not ask to be spared."""
    is_whole = not other.content.is_growing
    return other.member is not offer.member and is_whole and not other.busy and other.content.size == offer.content.size
