"""From a digest to a body that is being received: the first offer that opens, and what happens when it breaks off."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from registryd.aio.racing import AllFailed, first_success, one_by_one
from registryd.cluster.contract.no_forwarding import refuse_to_forward
from registryd.cluster.errors import PeerDeclined
from registryd.cluster.fetch.assembling import Assembler
from registryd.cluster.fetch.continuing import Failover
from registryd.cluster.fetch.opening import is_small
from registryd.cluster.fetch.outcome import refusal
from registryd.cluster.fetch.striped import Striper
from registryd.cluster.health.comparing import LinkComparison
from registryd.cluster.health.lagging import SiblingComparison
from registryd.cluster.health.links import UplinkProbe
from registryd.cluster.health.own_link import OwnLink
from registryd.cluster.health.room import RoomComparison
from registryd.cluster.health.samples import slow_links
from registryd.cluster.health.silence import StillCheck
from registryd.cluster.health.totals import Totals
from registryd.cluster.health.yielding import YieldCheck
from registryd.content.asker import AskAgain
from registryd.content.hindrances import Hindrances
from registryd.content.source import ContentNotFound, ContentUnavailable, OpenContent
from registryd.oci.errors import RangeInvalid
from registryd.transfer.allowance import Allowance, Priority
from registryd.transfer.errors import SourceBroken, SourcesExhausted
from registryd.transfer.limited import LimitedBody
from registryd.transfer.monitoring.body import MonitoredBody
from registryd.transfer.monitoring.doubt import DoubtCheck
from registryd.transfer.monitoring.thresholds import (
    GROWING_STALL_TIMEOUT,
    LINK_LOOKS,
    ROOM_LOOKS,
    SAMPLE_BYTES,
    TOP_LOOK_SECONDS,
    TOP_LOOKS_AT_ONCE,
)
from registryd.transfer.resume import ResumingBody
from registryd.transfer.striping import STRIPES, place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine

    from registryd.aio.racing import Attempt
    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.intake import Urgency
    from registryd.cluster.fetch.locator import MemberLocator
    from registryd.cluster.fetch.opening import Opener
    from registryd.cluster.fetch.plan import SourcePlan
    from registryd.cluster.fetch.stripe_sources import StripeIndex
    from registryd.cluster.health.attribution import DeliveryAttribution
    from registryd.cluster.health.comparing import Holders
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.content.source import Content, RangeOf
    from registryd.oci.ranges import Span
    from registryd.transfer.body import Body
    from registryd.transfer.inflow import Inflows
    from registryd.transfer.slots import SlotMemory

T = TypeVar("T")

# Until the next offer is tried while the one before is still being opened: the pause of happy eyeballs (RFC 8305), for
# the same reason. A peer's first byte takes milliseconds, tens of them from a cold disk.
_PATIENCE: Final = 0.25

# Of a chain, index nodes first name its end, which may have nothing yet, its top, and whoever asks. If other contents
# come by the same links, samples of more nodes cost more than they gain: six nodes that pull twelve layers got 1.09
# times the image, and 1.05 with three.
_NEAR_TOP: Final = 6

_TRY_NEXT: Final = (ContentUnavailable, SourceBroken, RangeInvalid)


class Fetcher:
    """Opens the content that members offer. Cancelling leaves nothing open.

    The agent believes a peer no further than it has to. It verifies small content. Large content has the size that its
    first source gave, and a source that gives another size is left out of that request.
    """

    def __init__(  # noqa: PLR0913 - what it needs, and what bounds it, all named
        self,
        locator: MemberLocator,
        opener: Opener,
        *,
        blame: DeliveryAttribution,
        receiving: Callable[[], Collection[Sought]],
        arrived: Callable[[], int] = lambda: 0,
        memory: SlotMemory | None = None,
        allowance: Allowance | None = None,
        priority_of: Callable[[Sought], Priority] = lambda _sought: Priority.PULL,
        hindrances: Hindrances | None = None,
        striping: tuple[StripeIndex, Inflows] | None = None,
    ) -> None:
        """`blame` is told which nodes give large content; `receiving`: the inflow of this node, at most `allowance`.

        `arrived`: how many bytes ever have.

        With `memory`, several members may give the parts of large content at once; with `striping`, while they receive
        it.
        """
        self.blame = blame
        self._locator = locator
        self._opener = opener
        self._totals = Totals(receiving, arrived)
        self._own_link = OwnLink(arrived)
        self._slow_links = slow_links()
        self._allowance = allowance or Allowance()
        self._priority_of = priority_of
        self._hindrances = hindrances or Hindrances()
        self._assembler = Assembler(locator, opener, blame=blame, lost=self._lost, memory=memory)
        self._striper = None
        if striping is not None:
            index, inflows = striping
            self._striper = Striper(
                index, opener, blame=blame, inflows=inflows, limited=self._limited, watched=self._watched_top
            )

    async def find(self, sought: Sought) -> Content:
        """The answer of the first member that has the content. Raises ContentUnavailable."""
        return await self._first(self._locator.plan_to_ask(sought), self._opener.confirm)

    async def open(self, sought: Sought, wanted: RangeOf, *, verdict: ClaimReply | None = None) -> OpenContent:
        """The first offer that opens, and others after it when it breaks off. Raises ContentUnavailable, RangeInvalid.

        With the `verdict` of the digest's index nodes, if that is known.
        """
        return self._going_on(*await self._open_first(sought, wanted, verdict=verdict))

    # As a finder of layers (`registryd.cluster.fetch.intake`)

    async def claim(self, sought: Sought, size: int, urgency: Urgency) -> ClaimReply | None:
        if self._striper is not None and self.blame.is_tainted(sought.digest):
            self._striper.give_up(sought)  # one node gives all of it: then it is known which node is to blame
        return await self._locator.claim(sought, size, urgency)

    async def follow(self, sought: Sought, span: Span, verdict: ClaimReply) -> Body:
        if verdict.stripes and self._striper is not None:
            if self.blame.is_tainted(sought.digest):  # since it was claimed
                raise ContentNotFound(f"{sought.digest} was wrong lately")
            return await self._follow_stripes(self._striper, sought, span, verdict)

        def wanted(_: int) -> Span:
            return span

        plan = self._locator.plan_to_follow(verdict, sought, wanted)
        use = partial(self._open_offer, wanted=wanted, size=span.stop)
        offer, opened = self._noted(*await self._first(plan, use, discard=_close))
        return self._going_on(offer, opened).body

    async def _follow_stripes(self, striper: Striper, sought: Sought, span: Span, verdict: ClaimReply) -> Body:
        first = await striper.follow(sought, span, verdict)

        async def go_on(rest: Span, _: SourceBroken) -> Body:
            try:
                return self._going_on(*await self._open_first(sought, lambda _: rest, size=span.stop)).body
            except (ContentUnavailable, AskAgain) as error:
                raise SourcesExhausted(str(error)) from error

        return ResumingBody(first, span, go_on)

    def _limited(self, offer: Offer, body: Body) -> Body:
        return LimitedBody(body, self._allowance, partial(self._priority_of, offer.sought))

    def _watched_top(self, source: Offer, body: Body, start: int) -> Body:
        """A body of one stripe, left when the link of the node at the top turns out to be what is slow."""
        stripe = source.sought.stripe or 0
        whole = replace(source, sought=replace(source.sought, stripe=None))  # of which there are samples early
        top = UplinkProbe(
            source,
            start=start,
            begin=place(stripe, start, source.content.size * STRIPES).start,
            links=self._links_of(whole, LINK_LOOKS),
            totals=self._totals,
            tell=self._locator.distrust,
            least=SAMPLE_BYTES // STRIPES,
        )

        async def is_slow(arrived: int, _rate: float) -> bool:
            return await top.is_limit(arrived)

        # One that has reported this top looks again when all the others have looked.
        is_reported = source.member.address in self._slow_links
        turn = (STRIPES if is_reported else stripe) // TOP_LOOKS_AT_ONCE
        first = TOP_LOOK_SECONDS * (1 + turn)
        return MonitoredBody(body, DoubtCheck(start, is_slow, first=first), StillCheck(GROWING_STALL_TIMEOUT))

    def _going_on(self, offer: Offer, opened: OpenContent) -> OpenContent:
        """The content with a body that another source goes on with."""
        priority = partial(self._priority_of, offer.sought)
        if is_small(opened.content):
            self._allowance.take(opened.span.length, priority())
            return opened

        def doubted(source: Offer, given: OpenContent) -> Body:
            if not given.content.is_growing:
                return self._assembler.body(source, given)
            if not way_on.may_leave:
                return given.body
            totals, start = self._totals, given.span.start
            links = self._links_of(source, LINK_LOOKS, self._holders_near_top)
            top = UplinkProbe(source, start=start, links=links, totals=totals, tell=self._locator.distrust)
            room = None
            if self._locator.are_all_near:
                room = RoomComparison(source, start, links=self._links_of(source, ROOM_LOOKS), totals=totals)
            lag = SiblingComparison(source, self._locator.beside, leave=way_on.leave, top=top, room=room, totals=totals)
            doubt = DoubtCheck(start, lag.is_slow, first=TOP_LOOK_SECONDS, is_slow_early=lag.is_slow_top)
            claim = partial(self._locator.claim_other_place, source.sought, source.content.size)
            yields = YieldCheck(source.member.address, lambda: self._locator.slow_since, claim, way_on.give_way)
            return MonitoredBody(given.body, doubt, yields, way_on.arrival)

        async def open_other(rest: Span, longest: float) -> tuple[Offer, OpenContent]:
            size = opened.content.size
            other, given = await self._open_first(offer.sought, lambda _: rest, size=size, longest=longest)
            return other, replace(given, body=doubted(other, given))

        way_on = Failover(offer, open_other=open_other, lost=self._lost, leave=self._left)
        body = ResumingBody(doubted(offer, opened), opened.span, way_on.reopen)
        return replace(opened, body=LimitedBody(body, self._allowance, priority))

    def _links_of(self, source: Offer, looks: Collection[int], holders: Holders | None = None) -> LinkComparison:
        holders = holders or self._locator.holders
        return LinkComparison(source, holders, looks=looks, own=self._own_link, known=self._slow_links)

    async def _holders_near_top(self, sought: Sought) -> list[Member]:
        return await self._locator.holders(sought, _NEAR_TOP if self._totals.are_of_one else 0)

    def _lost(self, offer: Offer, reason: SourceBroken) -> None:
        self._hindrances.lost(offer.content.digest, offer.member.address)
        self._locator.lost(offer, reason)

    def _left(self, offer: Offer) -> None:
        self._hindrances.left(offer.content.digest, offer.member.address)
        self._locator.leave(offer)

    async def _open_first(
        self,
        sought: Sought,
        wanted: RangeOf,
        *,
        size: int | None = None,
        verdict: ClaimReply | None = None,
        longest: float = 0.0,
    ) -> tuple[Offer, OpenContent]:
        plan = self._locator.plan(sought, wanted, reply=verdict, longest=longest)
        use = partial(self._open_offer, wanted=wanted, size=size)
        return self._noted(*await self._first(plan, use, discard=_close))

    async def _open_offer(self, offer: Offer, *, wanted: RangeOf, size: int | None) -> tuple[Offer, OpenContent]:
        if size is not None and offer.content.size != size:
            raise PeerDeclined(f"{offer.member.address} has another size: {offer.content.size}")
        self.blame.require_verified(offer.content)
        span = wanted(offer.content.size)
        opened = await self._opener.open(offer, self._assembler.beginning(offer.content, span))
        return offer, replace(opened, span=span)

    def _noted(self, offer: Offer, opened: OpenContent) -> tuple[Offer, OpenContent]:
        if not is_small(opened.content):
            self.blame.gave(offer, from_start=opened.span.start == 0)
        return offer, opened

    async def _first(
        self,
        plan: SourcePlan,
        use: Callable[[Offer], Coroutine[Any, Any, T]],
        *,
        discard: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        refuse_to_forward()
        try:
            attempts = one_by_one(_attempts(plan, use))
            return await first_success(attempts, expected=_TRY_NEXT, patience=_PATIENCE, discard=discard)
        except AllFailed as error:
            raise refusal(error.reasons) from error


async def _attempts(
    plan: SourcePlan, use: Callable[[Offer], Coroutine[Any, Any, T]]
) -> AsyncGenerator[Attempt[T], None]:
    """Closes the plan in the end: within the race, which discards what it has won if it is cancelled meanwhile."""
    async with aclosing(plan):
        while (offer := await plan.next()) is not None:
            yield partial(_try, plan, offer, use)


async def _try(plan: SourcePlan, offer: Offer, use: Callable[[Offer], Coroutine[Any, Any, T]]) -> T:
    try:
        return await use(offer)
    except _TRY_NEXT as reason:
        plan.failed(offer, reason)
        raise


async def _close(opened: tuple[Offer, OpenContent]) -> None:
    await opened[1].body.aclose()
