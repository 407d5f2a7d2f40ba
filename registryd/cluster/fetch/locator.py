"""Which members to ask for a digest: one search, measured, without members that failed for it lately."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from registryd.aio import clock
from registryd.aio.racing import AllFailed
from registryd.cluster.fetch.fallback import Doubts, FallbackMembers
from registryd.cluster.fetch.intake import Urgency
from registryd.cluster.fetch.named import Want
from registryd.cluster.fetch.outcome import find_outcome
from registryd.cluster.fetch.plan import SourcePlan
from registryd.cluster.fetch.search import Waves, offers
from registryd.cluster.health.coming_back import Refusals
from registryd.cluster.health.penalties import PeerPenalties
from registryd.observability.metrics import FindOutcome
from registryd.oci.ranges import Span
from registryd.transfer.errors import SourceBusy, SourceCutOff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registryd.cluster.contract.index import ClaimReply
    from registryd.cluster.fetch.coalescing import FetchCoordinator
    from registryd.cluster.fetch.outcome import FindObserver
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.sought import Sought
    from registryd.content.source import RangeOf
    from registryd.notation import Address
    from registryd.oci.digest import Digest


# Of one, it is the source that is known already.
_SEVERAL: Final = 2


class Candidates(Protocol):
    """The members that may be asked; `registryd.cluster.members.roster.Members` is one."""

    def available(self) -> list[Member]:
        """The members that are well as far as is known, the best first."""


class MemberLocator:
    """Searches among the members: all of up to `fanout_limit` members, in waves; of more, the named ones."""

    def __init__(  # noqa: PLR0913 - its parts, all of them named
        self,
        members: Candidates,
        *,
        fanout_limit: int,
        coalescing: FetchCoordinator,
        doubts: Doubts | None = None,
        waves: Waves | None = None,
        observer: FindObserver | None = None,
    ) -> None:
        self._members = members
        self._fanout_limit = fanout_limit
        self._coalescing = coalescing
        self._doubts = doubts or Doubts()
        self._waves = waves or Waves()
        self._observer = observer
        self._avoided = PeerPenalties()
        self._refused = Refusals()

    def begin(self, digest: Digest, start: int) -> None:
        """A request of this node's containerd begins, for this content from this byte on (-1: for no byte).

        When it comes again because no other host gave the content, members that failed are asked again.
        """
        if self._refused.take(digest, start):
            self._avoided.forgive(digest)

    def refused(self, digest: Digest, start: int) -> None:
        """Such a request ended without a source."""
        self._refused.note(digest, start)

    def members(self) -> list[Member]:
        """Whom to ask about anything, the best first."""
        return self._members.available()[: self._fanout_limit]

    def is_avoided(self, offer: Offer) -> bool:
        """Whether this member is better not asked for this digest."""
        return self._has_failed(offer.content.digest, offer.member)

    def avoid(self, offer: Offer) -> None:
        """Do not ask this member for this digest for a while."""
        self._coalescing.failed(offer.content.digest, offer.member.address)
        self._avoided.add(offer.content.digest, offer.member.address, life=offer.member.life)
        offer.member.doubted()

    def lost(self, offer: Offer, reason: Exception) -> None:
        """Note why this member failed. One that is cut off once is no worse than before, if it is there at all."""
        match reason:
            case SourceCutOff() if self._avoided.forgives_cut(offer.content.digest, offer.member.address):
                self.pass_by(offer)
                offer.member.doubted()
            case SourceBusy():
                self.pass_by(offer)
                self._avoided.spare(offer.content.digest, offer.member.address)
            case _:
                self.avoid(offer)

    def pass_by(self, offer: Offer) -> None:
        """This request gets nothing from this member; the next one may."""
        self._coalescing.failed(offer.content.digest, offer.member.address)

    def leave(self, offer: Offer) -> None:
        """Note that this member holds up its followers for this digest; it is asked again when there is no other."""
        self._coalescing.slow(offer.content.digest, offer.member.address)

    def distrust(self, address: Address) -> None:
        """Note that another node should fetch the content that this member intends to fetch from the origin."""
        self._coalescing.distrust(address)

    def not_for_name(self, offer: Offer) -> None:
        """Note that this member, which is not at fault, does not give this for that name."""
        self._coalescing.not_for_name(offer.sought, offer.member.address)

    @property
    def are_all_near(self) -> bool:
        """Whether all members are equally near, as far as is known."""
        return self._coalescing.are_all_near

    async def holders(self, sought: Sought, count: int = 0) -> list[Member]:
        """Some members that have the content or are getting it; with a `count`, so many at most."""
        return await (self._coalescing.several(sought, count) if count else self._coalescing.holders(sought))

    async def several(self, sought: Sought, count: int) -> AsyncGenerator[Offer, None]:
        """Yield members that could give the content beside others, in no order; so many are asked at most.

        These are the members that the index nodes name: index nodes know which members are near, and which have little
        to do. If they name none or only one, these are all members of a small cluster, near or not.
        """
        named = await self._coalescing.several(sought, 2 * count)
        if len(named) < _SEVERAL and self.are_all_near:
            named = await self._candidates(sought, FallbackMembers(), is_claimed=False)
        else:
            named = random.sample(named, min(count, len(named)))
        try:
            async with aclosing(self._found(sought, named)) as found:
                async for offer in found:
                    yield offer
        except AllFailed:
            pass

    async def beside(self, sought: Sought, address: Address) -> list[Member]:
        """The members that ought to get the content as quickly as that member."""
        return await self._coalescing.beside(sought, address)

    async def has_source(self, sought: Sought, address: Address) -> bool:
        """Whether a node gives that one the stripe, or one of its zone the content, as far as index nodes know."""
        return bool(await self.beside(sought, address))

    def blame(self, offer: Offer, *, is_certain: bool = True) -> None:
        """Do not ask this member for this digest for a long while: what it gave was wrong, if that is certain."""
        content = offer.content
        was_whole = not content.is_growing
        self._avoided.blame(content.digest, offer.member.address, is_certain=is_certain, was_whole=was_whole)

    async def claim(self, sought: Sought, size: int, urgency: Urgency) -> ClaimReply | None:
        """The sources of this content for this node, as its index nodes say; None when none of them answers."""
        return await self._coalescing.claim(sought, size, urgency)

    @property
    def slow_since(self) -> float:
        """When this node was told that it is slow; -inf: it is not."""
        return self._coalescing.slow_since

    async def claim_other_place(self, sought: Sought, size: int) -> Address | None:
        """The source that index nodes name now to this node, which gets the content as a whole; None: no source."""
        reply = await self._coalescing.claim_once(Want(sought, Span.whole, size), Urgency.ASKED)
        return reply.sources[0] if reply is not None and reply.sources else None

    def plan(
        self, sought: Sought, wanted: RangeOf, *, reply: ClaimReply | None = None, longest: float = 0.0
    ) -> SourcePlan:
        """The sources of a request that is going to get these bytes, and shares the work with others that do.

        With the `reply` of its index nodes, if that is known. The request may wait for the `longest` time, in seconds,
        for sources that say that they are held up themselves.
        """
        fallback = FallbackMembers()
        named = self._coalescing.named(sought, wanted, fallback, reply=reply, longest=longest)
        return SourcePlan(self, named=named, search=self._search(sought, fallback, is_claimed=True))

    def plan_to_ask(self, sought: Sought) -> SourcePlan:
        """The sources of a request that only asks for the content's size and type."""
        return SourcePlan(self, search=self.offers(sought))

    def plan_to_follow(self, reply: ClaimReply, sought: Sought, wanted: RangeOf) -> SourcePlan:
        """The sources of a request that gets these bytes only from the nodes that the reply names."""
        return SourcePlan(self, named=self._coalescing.named_by(reply, sought, wanted))

    def offers(self, sought: Sought) -> AsyncGenerator[Offer, None]:
        """Yield offers of members, as `registryd.cluster.fetch.search.offers` does. Raises AllFailed."""
        return self._search(sought, FallbackMembers(), is_claimed=False)

    async def _search(
        self, sought: Sought, fallback: FallbackMembers, *, is_claimed: bool
    ) -> AsyncGenerator[Offer, None]:
        candidates = await self._candidates(sought, fallback, is_claimed=is_claimed)
        async with aclosing(self._found(sought, candidates)) as found:
            async for offer in found:
                # A node that is to go on in place of its source may have less than the nodes that wait for this one. No
                # more would come to any of them.
                if not (offer.content.is_growing and fallback.may_wait_here(offer.member.address)):
                    yield offer

    async def _found(self, sought: Sought, candidates: list[Member]) -> AsyncGenerator[Offer, None]:
        members = [member for member in candidates if not self._has_failed(sought.digest, member)]
        begun = clock.now()
        is_found = False
        try:
            async with aclosing(offers(members, sought, self._waves)) as found:
                async for offer in found:
                    if not is_found:
                        is_found = True
                        self._observe(begun, FindOutcome.FOUND)
                    yield offer
        except AllFailed as error:
            self._observe(begun, find_outcome(error.reasons))
            raise

    def _has_failed(self, digest: Digest, member: Member) -> bool:
        return self._avoided.has(digest, member.address, life=member.life)

    async def _candidates(self, sought: Sought, remaining: FallbackMembers, *, is_claimed: bool) -> list[Member]:
        """All members that are left, or in a larger cluster those that the index nodes name, unless they just have."""
        if self._coalescing.count_members() <= self._fanout_limit:
            return self._doubts.narrow(self.members(), sought.digest, remaining)
        return [] if is_claimed else await self._coalescing.holders(sought)

    def _observe(self, begun: float, outcome: FindOutcome) -> None:
        if self._observer is not None:
            self._observer.find(clock.now() - begun, outcome=outcome)
