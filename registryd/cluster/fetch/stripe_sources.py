"""Who gives a stripe: the member that the index node names, and another one when that member does not give it.

When a stripe is behind the others, its source may be slow, or only its source's source. The node asks the source how
far it is: one that has more of this stripe gives it slowly, and one that has less of the stripes that come well here
gets everything slowly. Any other source is held up itself.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from registryd.cluster.contract.peer import Wait
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.named import WAITS
from registryd.cluster.health.stripe_pace import third_best
from registryd.cluster.health.totals import available
from registryd.cluster.members.offer import Offer, offer_of
from registryd.content.growing import GrowingContent, NotArrived
from registryd.content.source import ContentNotFound, ContentUnavailable, NotForName
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBroken, SourceLeft, SourceRefused
from registryd.transfer.monitoring.thresholds import STRIPE_MUCH_BYTES
from registryd.transfer.striping import STRIPES, reach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registryd.cluster.fetch.opening import Opener
    from registryd.cluster.health.attribution import DeliveryAttribution
    from registryd.cluster.members.member import Member
    from registryd.content.sought import Sought
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.transfer.body import Body
    from registryd.transfer.stripe_board import StripeBoard

_log = logging.getLogger(__name__)

# If so many other stripes can come, the layer has begun to arrive.
_SOME: Final = 3
# To so many a node with all other stripes can give the last one.
_PLACES: Final = 2


class _ToAsk(Exception):
    """A member did not give bytes at once. It is to be asked what it has, and each answer may wait for so long."""

    def __init__(self, waits: Sequence[float]) -> None:
        super().__init__()
        self.waits = waits


class StripeIndex(Protocol):
    """The part of `registryd.cluster.fetch.coalescing.FetchCoordinator` that knows the sources of stripes."""

    def member(self, address: Address) -> Member | None:
        """The member there, if it may be asked."""

    async def change_stripe(
        self,
        sought: Sought,
        *,
        failed: tuple[Address, ...] = (),
        slow: tuple[Address, ...] = (),
        is_late: bool = False,
        places: int | None = None,
    ) -> Address | None:
        """Another source for that stripe in place of these; None: there is none.

        `is_late`: this node has waited for the stripe long, and the source says that it waits itself. A top is kept.
        `places`: this node has all other stripes, and can give this one to so many.
        """

    async def beside(self, sought: Sought, address: Address) -> Sequence[Member]:
        """The node from which that one gets that stripe, as far as index nodes know; none if it gets it from none."""

    def not_for_name(self, sought: Sought, address: Address) -> None:
        """This member does not give this for that name: it is not to be named for it, and not at fault."""

    def get_whole(self, digest: Digest) -> None:
        """Do not get this in stripes for a while."""


class StripeSources:
    """Asks members for stripes, and the index node for other members."""

    def __init__(
        self,
        index: StripeIndex,
        opener: Opener,
        *,
        blame: DeliveryAttribution,
        limited: Callable[[Offer, Body], Body],
        watched: Callable[[Offer, Body, int], Body],
    ) -> None:
        """`limited` limits a body; `watched` watches one of the node at the top, from that byte of the stripe on."""
        self._index = index
        self._opener = opener
        self._blame = blame
        self._limited = limited
        self._watched = watched

    # The member that is named

    async def require(
        self, address: Address, sought: Sought, start: int, size: int, *, waits: Sequence[float] = WAITS
    ) -> Offer:
        """The offer of a member that has a byte of the stripe from there on. Raises ContentUnavailable.

        `waits`: for how many seconds each answer may wait for that byte.
        """
        member, stripe = self._member(address), _stripe_of(sought)
        received, is_held_up = 0, False
        now = asyncio.get_running_loop().time
        for seconds in waits:
            until = now() + seconds
            try:
                offer = offer_of(member, sought, await member.find(sought, Wait(seconds, beyond=start)))
            except NotForName:
                self._index.not_for_name(sought, address)
                raise
            if offer.content.size != reach(stripe, size):
                raise PeerDeclined(f"{address} has another size: {offer.content.size}")
            self._blame.require_verified(offer.content)
            received, is_held_up = offer.received, offer.content.is_held_up
            if offer.available > start:
                return offer
            await asyncio.sleep(until - now())  # too many may wait there, or it lies
        reason = f"stripe {stripe} is to come from {address}"
        raise NotArrived(reason, received=received, is_held_up=is_held_up)

    def _member(self, address: Address) -> Member:
        member = self._index.member(address)
        if member is None:
            raise ContentNotFound(f"{address} is not among the members")
        return member

    async def open(self, address: Address, sought: Sought, start: int, size: int, *, is_top: bool) -> Body:
        """What is left of the stripe from there on, of a layer of that size. Raises ContentUnavailable, SourceBroken.

        The member is asked for the bytes at once, if it is known where, and waits for the first one as it does when it
        is asked what it has. Only where no bytes come the node asks why.
        """
        member, span = self._member(address), Span(start, reach(_stripe_of(sought), size))
        try:
            offer, body = await self._open_unasked(member, sought, span)
        except _ToAsk as to_ask:
            offer = await self.require(address, sought, start, size, waits=to_ask.waits)
            body = (await self._opener.open(offer, span)).body
        self._blame.gave(offer, from_start=False)
        return self._limited(offer, self._watched(offer, body, start) if is_top else body)

    async def _open_unasked(self, member: Member, sought: Sought, span: Span) -> tuple[Offer, Body]:
        """The bytes from a door that is known, with what its member would say of them. Raises _ToAsk, PeerDeclined."""
        door = self._opener.unasked(member)
        if door is None:
            raise _ToAsk(WAITS)
        offer = Offer(member, sought, GrowingContent(sought.digest, span.stop, None, span.start + 1), door, busy=False)
        self._blame.require_verified(offer.content)
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            body = await self._opener.open_unasked(offer, span, seconds=WAITS[0])
        except SourceRefused as error:
            has_waited = now() - begun >= WAITS[0]
            raise _ToAsk(WAITS[1:] if has_waited else WAITS) from error
        except SourceBroken as error:
            raise _ToAsk((0.0, *WAITS)) from error  # it may be gone
        _log.debug("stripe %d of %s comes from %s unasked", _stripe_of(sought), sought.digest, member.address)
        return offer, body

    async def are_some_here(self, sought: Sought, sources: Sequence[Address], span: Span) -> bool:
        """Whether some stripes other than this one can come: then it is not the top that has nothing yet."""

        async def has_come(stripe: int) -> bool:
            member = self._index.member(sources[stripe])
            start = reach(stripe, span.start)
            return member is not None and await available(member, replace(sought, stripe=stripe)) > start

        found = await asyncio.gather(*(has_come(stripe) for stripe in range(STRIPES) if stripe != sought.stripe))
        return sum(found) >= _SOME

    async def is_held_up(self, address: Address, sought: Sought, board: StripeBoard, stripe: int) -> bool | None:
        """Whether the source of this stripe is held up by its own source; None: it does not answer."""
        member = self._index.member(address)
        if member is None:
            return None
        well = third_best(range(STRIPES), key=lambda other: board.reached[other] if board.left(other) else 0)
        there, other = await asyncio.gather(
            available(member, replace(sought, stripe=stripe)), available(member, replace(sought, stripe=well))
        )
        if not (there or other):
            return None
        gives_slowly = there > board.reached[stripe] + STRIPE_MUCH_BYTES
        gets_slowly = other + STRIPE_MUCH_BYTES < board.reached[well]
        return not (gives_slowly or gets_slowly)

    async def has_no_more(self, address: Address, sought: Sought, reached: int) -> bool:
        """Whether this member answers that it is receiving the stripe, and has no byte beyond the first `reached`."""
        member = self._index.member(address)
        if member is None:
            return False
        try:
            offer = offer_of(member, sought, await member.find(sought))
        except ContentUnavailable:
            return False
        return offer.content.is_growing and offer.available <= reached

    async def tell_slow(self, address: Address, sought: Sought) -> None:
        """Tell the source that it is slow, so that no node is sent to it for a while."""
        if (member := self._index.member(address)) is not None:
            with suppress(ContentUnavailable):
                await member.tell_slow(sought)

    async def is_excused(self, address: Address, sought: Sought, reason: NotArrived) -> bool:
        """Whether that this member has nothing yet is another one's fault: it says so, and gets it from another one."""
        return reason.is_held_up and bool(await self._index.beside(sought, address))

    # Another member

    async def named_by_now(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe that the index node names by now in place of this one; None: it names none."""
        other = await self._index.change_stripe(sought)
        return None if other == address else other

    async def report_slow(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe, or this one, which is slow; None: there is none."""
        return await self._index.change_stripe(sought, slow=(address,))

    async def replace(self, sought: Sought, address: Address, reason: Exception) -> Address | None:
        """Another source for the stripe in place of one that did not give it for this reason; None: there is none."""
        if isinstance(reason, NotForName):  # noted; the index node is told with every question
            return await self.named_by_now(sought, address)
        is_certain = isinstance(reason, SourceLeft)  # a check found it: a top need not be tried again
        return await self._index.change_stripe(sought, failed=(address,), slow=(address,) if is_certain else ())

    async def find_other(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe in place of one that says that it waits itself; None: that one is kept."""
        other = await self._index.change_stripe(sought, slow=(address,), is_late=True)
        return None if other == address else other

    async def spread(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the last stripe, with fewer followers than this one; None: there is none."""
        other = await self._index.change_stripe(sought, places=_PLACES)
        return None if other == address else other

    async def find_one_that_has_some(self, sought: Sought, address: Address) -> Address | None:
        """Another source for the stripe in place of one that has had nothing for long; a top is kept. None: no one."""
        return await self._index.change_stripe(sought, failed=(address,), is_late=True)

    def give_up(self, sought: Sought) -> None:
        """Note that the stripes do not come."""
        self._index.get_whole(sought.digest)


def _stripe_of(sought: Sought) -> int:
    if sought.stripe is None:
        raise ValueError(f"{sought} is no stripe")
    return sought.stripe
