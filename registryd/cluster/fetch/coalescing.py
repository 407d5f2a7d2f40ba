"""Many nodes want the same content at the same time: one fetches it, the others get it from each other meanwhile.

This is only an optimisation: every failure here ends in a search by the node itself, within a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from registryd.aio import clock
from registryd.aio.bound import off_the_clock
from registryd.aio.expiring import ExpiringSet
from registryd.cluster.contract.index import Claim, ClaimReply
from registryd.cluster.contract.peer import Wait
from registryd.cluster.fetch.intake import Urgency
from registryd.cluster.fetch.named import NamedSources, Want
from registryd.cluster.fetch.spared import SPARED_SECONDS, SparedHolders
from registryd.cluster.health.own_pace import OwnPace
from registryd.cluster.health.totals import available
from registryd.cluster.index_client.companions import LARGE_BYTES, LayerSchedule, Side
from registryd.cluster.members.offer import offer_of
from registryd.content.growing import arriving_or_none
from registryd.content.hindrances import Hindrances
from registryd.content.source import ContentNotFound
from registryd.oci.ranges import Span

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from registryd.cluster.fetch.fallback import FallbackMembers
    from registryd.cluster.fetch.named import Patience
    from registryd.cluster.fetch.places import Places
    from registryd.cluster.index_client.index_nodes import IndexNodes, Roster
    from registryd.cluster.members.member import Member
    from registryd.cluster.members.offer import Offer
    from registryd.content.growing import Arrivals
    from registryd.content.sought import Sought
    from registryd.content.source import RangeOf
    from registryd.notation import Address
    from registryd.oci.digest import Digest
    from registryd.oci.reference import Repository

# Digests whose failed sources are remembered: a node pulls three layers at a time for each image.
_REMEMBERED: Final = 1000
# Another image, later, may find a link that was full then.
_DISTRUST_SECONDS: Final = 60.0
# How long this node may be named to others in place of a source that it lost.
_BEREFT_SECONDS: Final = 60.0
# How long a layer whose stripes did not come is got as a whole.
_UNSTRIPED_SECONDS: Final = 60.0
# By then a node may have been told that anyone may have it, or have been given it under that name.
_UNFIT_SECONDS: Final = 10.0


class FetchCoordinator:
    """Asks a digest's index nodes for a source, and follows their answer."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        index: IndexNodes,
        roster: Roster,
        own: Arrivals,
        *,
        fetch_wait: float,
        companions: LayerSchedule | None = None,
        hindrances: Hindrances | None = None,
        own_pace: OwnPace | None = None,
        gives_stripes: Callable[[], bool] = lambda: True,
    ) -> None:
        """`fetch_wait`: how long, in seconds, a request may wait for other nodes that are visibly at work.

        `companions`: knowledge about content that comes at the same time; `own_pace`: whether this node is slow.
        `gives_stripes`: whether it can pass on what it is receiving; else it takes no stripes.
        """
        self._index = index
        self._roster = roster
        self._own = own
        self.fetch_wait = fetch_wait
        self.spared = SparedHolders(min(SPARED_SECONDS, fetch_wait / 2))
        self._companions = companions or LayerSchedule()
        self._hindrances = hindrances or Hindrances()
        self._own_pace = own_pace or OwnPace()
        self._gives_stripes = gives_stripes
        self._places: Places | None = None
        self._failed = _Reports()
        self._slow = _Reports()
        self._unheard = _Reports()
        """Slow sources that were reported to index nodes of which none has answered."""
        self._unfit: ExpiringSet[tuple[Digest, Repository | None, Address]] = ExpiringSet(
            lifetime=_UNFIT_SECONDS, capacity=_REMEMBERED
        )
        self._distrusted: ExpiringSet[Address] = ExpiringSet(lifetime=_DISTRUST_SECONDS, capacity=_REMEMBERED)
        self._bereft: ExpiringSet[Digest] = ExpiringSet(lifetime=_BEREFT_SECONDS, capacity=_REMEMBERED)
        self._unstriped: ExpiringSet[Digest] = ExpiringSet(lifetime=_UNSTRIPED_SECONDS, capacity=_REMEMBERED)

    def failed(self, digest: Digest, address: Address) -> None:
        """This source did not help, or stopped helping: it is reported with the next claim."""
        self._failed.add(digest, address)
        self._bereft.add(digest)

    def slow(self, digest: Digest, address: Address) -> None:
        """This source holds this node up: it is reported with the next claim, and followed if there is no other."""
        self._slow.add(digest, address)

    def not_for_name(self, sought: Sought, address: Address) -> None:
        """Note that this source does not give this for that name: it must not be named for it, and is not at fault."""
        self._unfit.add((sought.digest, sought.repository, address))

    def _unfit_for(self, sought: Sought) -> tuple[Address, ...]:
        wanted = sought.digest, sought.repository
        return tuple(address for digest, repository, address in self._unfit if (digest, repository) == wanted)

    def distrust(self, address: Address) -> None:
        """Note that this node fetches much more slowly than others could: use it only for content that it has begun."""
        self._distrusted.add(address)

    @property
    def are_all_near(self) -> bool:
        """Whether all members are equally near, as far as is known."""
        return not self._index.own_place().zone

    @property
    def slow_since(self) -> float:
        """As OwnPace has it."""
        return self._own_pace.slow_since

    def count_members(self) -> int:
        return len(self._roster.addresses())

    async def holders(self, sought: Sought) -> list[Member]:
        """The nodes that have the content or get it, as far as its index nodes know; this node does not join them."""
        return await self._named(
            Claim(sought.digest, self._index.own_place(), is_question=True, unfit=self._unfit_for(sought))
        )

    async def several(self, sought: Sought, count: int) -> list[Member]:
        """The nodes that could give the content beside others; only near ones if there are any."""
        unfit = self._unfit_for(sought)
        return await self._named(
            Claim(sought.digest, self._index.own_place(), places=count, is_question=True, unfit=unfit)
        )

    async def beside(self, sought: Sought, address: Address) -> list[Member]:
        """The nodes that ought to get the content as quickly as that node, as far as the index nodes know.

        Of a stripe: the node from which that node gets it.
        """
        own = self._index.own_place()
        return await self._named(Claim(sought.digest, own, is_question=True, beside=address, stripe=sought.stripe))

    async def _named(self, question: Claim) -> list[Member]:
        verdict = await self._index.claim(question)
        found = [self._roster.get(address) for address in (verdict.sources if verdict else ())]
        return [member for member in found if member is not None]

    def mind(self, places: Places) -> None:
        """Requests of containerd wait only as these allow."""
        self._places = places

    async def claim(self, sought: Sought, size: int, urgency: Urgency) -> ClaimReply | None:
        """The sources for this node; None when no index node answers."""
        is_unfit = urgency is Urgency.PRESSED or sought.digest in self._unstriped
        want = Want(sought, Span.whole, size, takes_stripes=self._gives_stripes() and not is_unfit)
        verdict = await self.claim_once(want, urgency)
        if verdict is None or verdict.is_whole or not verdict.sources or verdict.sources[0] not in self._distrusted:
            return verdict
        if await self._has_begun(verdict.sources[0], sought):
            return verdict
        self.failed(sought.digest, verdict.sources[0])
        return await self.claim_once(want, urgency)

    async def _has_begun(self, address: Address, sought: Sought) -> bool:
        member = self._roster.get(address)
        return member is not None and await available(member, sought) > 0

    def named(
        self,
        sought: Sought,
        wanted: RangeOf,
        fallback: FallbackMembers,
        *,
        reply: ClaimReply | None = None,
        longest: float = 0.0,
    ) -> NamedSources:
        """The sources for this node, as long as the index nodes name some.

        After these, this node has to look elsewhere: at the members that the `fallback` has learnt, and at last at the
        origin. A `reply` that is known already is followed first. The request may wait for the `longest` time, in
        seconds, for sources that say that they are held up themselves.
        """
        return NamedSources(self, Want(sought, wanted), reply=reply, fallback=fallback, longest=longest)

    def named_by(self, reply: ClaimReply, sought: Sought, wanted: RangeOf) -> NamedSources:
        """The sources that the reply names, and no others."""
        return NamedSources(self, Want(sought, wanted), reply=reply, is_final=True)

    # For `NamedSources`

    async def claim_once(self, want: Want, urgency: Urgency) -> ClaimReply | None:
        """The reply of the index nodes, which are told of all failed sources; None when none of them answers."""
        own = self._index.own_place()
        failed, left, unfit = self._failed.take(want.digest), self._slow.take(want.digest), self._unfit_for(want.sought)
        slow = tuple(dict.fromkeys((*self._unheard.take(want.digest), *left)))
        is_large = want.size is not None and want.size > LARGE_BYTES
        side = (
            self._companions.side(want.digest, own=own.address)
            if is_large
            else Side(rank=self._companions.rank(want.digest))
        )
        claim = Claim(
            want.digest,
            own,
            want.size,
            failed,
            below=side.below,
            places=side.places,
            slow=slow,
            is_ahead=urgency is Urgency.AHEAD,
            is_pressed=urgency is Urgency.PRESSED,
            rank=side.rank,
            unfit=unfit,
            is_slow=self._own_pace.is_slow,
            takes_stripes=want.takes_stripes,
        )
        verdict = None
        try:
            verdict = await self._index.claim(claim)
        finally:
            if verdict is None:  # none has answered, or the claim was cancelled: the next one tells it again
                self._failed.add(want.digest, *failed)
                self._unheard.add(want.digest, *slow)
        if verdict is not None and unfit:
            # An index node of an older version names them all the same.
            verdict = replace(verdict, sources=tuple(each for each in verdict.sources if each not in unfit))
        if verdict is not None and verdict.is_below_missing:
            is_expected = side.below in verdict.sources
            # An older containerd asks for later layers when earlier ones are there, while other nodes get them already.
            if not (is_expected and self._places is not None and self._places.lines_up):
                self._companions.lose(want.digest)
                if is_expected:
                    return await self.claim_once(want, urgency)
        elif verdict is not None and not is_large:
            self._companions.came_after(verdict.before, want.digest, rank=verdict.rank)
        # Where nobody else is known, what comes slowly is no reason to ask the origin; without an answer, once.
        slow = left if verdict is None else slow
        if slow and (verdict is None or not verdict.sources):
            return ClaimReply(slow)
        return verdict

    # In stripes

    def member(self, address: Address) -> Member | None:
        """The member there, if it may be asked."""
        return self._roster.get(address)

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
        claim = Claim(
            sought.digest,
            self._index.own_place(),
            failed=failed,
            slow=slow,
            unfit=self._unfit_for(sought),
            stripe=sought.stripe,
            is_late=is_late,
            places=places,
        )
        verdict = await self._index.claim(claim)
        return verdict.sources[0] if verdict and verdict.sources else None

    def get_whole(self, digest: Digest) -> None:
        """Do not get this in stripes for a while."""
        self._unstriped.add(digest)

    def has_lost_source(self, want: Want) -> bool:
        """Whether this node got some of it, or was to get it, from a node that does not give it any more."""
        return want.start > 0 or want.digest in self._bereft or want.digest in self._unstriped

    async def size(self, digest: Digest) -> int | None:
        """As this node knows it: containerd begins an ingest, with its size, before it asks anybody for the bytes."""
        content = await arriving_or_none(self._own, digest)
        return None if content is None else content.size

    async def follow(self, address: Address, want: Want, patience: Patience, waits: tuple[float, ...]) -> Offer | None:
        """The member's offer as soon as it has the byte; None if that takes long. Raises ContentUnavailable."""
        member = self._roster.get(address)
        if member is None:
            raise ContentNotFound(f"{address} is not among the members")
        begun = clock.now()
        try:
            with off_the_clock():
                async with self._waiting(want):
                    return await self._ask_until_there(member, want, patience, waits)
        finally:
            self._hindrances.waited(want.digest, clock.now() - begun, address)

    def _waiting(self, want: Want) -> AbstractAsyncContextManager[None]:
        if self._places is None or want.size is None:
            return nullcontext()
        return self._places.waiting(want.digest, want.size, want.start)

    async def _ask_until_there(
        self, member: Member, want: Want, patience: Patience, waits: tuple[float, ...]
    ) -> Offer | None:
        for seconds in waits:
            wait = Wait(max(0.0, min(seconds, patience.left)), beyond=want.start) if seconds else None
            asked_at = clock.now()
            offer = offer_of(member, want.sought, await member.find(want.sought, wait))
            if offer.content.is_held_up:
                patience.excuse(min(clock.now() - asked_at, seconds))
            if not want.size:  # what this node's containerd says of it is not a peer's to change
                want.size = offer.content.size
            want.received = offer.received
            if offer.available > want.start or not offer.content.size:
                return offer
            if patience.is_over:
                break
        return None


class _Reports:
    """Reports about sources, by digest; the oldest are forgotten when there are too many."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[Digest, list[Address]] = OrderedDict()

    def add(self, digest: Digest, *addresses: Address) -> None:
        if not addresses:
            return
        known = self._addresses.setdefault(digest, [])
        known.extend(address for address in addresses if address not in known)
        if len(self._addresses) > _REMEMBERED:
            self._addresses.popitem(last=False)

    def take(self, digest: Digest) -> tuple[Address, ...]:
        return tuple(self._addresses.pop(digest, ()))
