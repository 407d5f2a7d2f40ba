"""The state of this node as an index node: the waves of the digests about which others ask and tell it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.index import MAX_UNHEARD, Announcement, ClaimReply, Receipt
from registryd.cluster.index.arrivals import Arrivals
from registryd.cluster.index.books import Books
from registryd.cluster.index.hosts import Hosts
from registryd.cluster.index.wave import LINE_SECONDS, Wave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from registryd.cluster.contract.index import Claim, NodeLocation
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.index.view import View
    from registryd.notation import Address
    from registryd.oci.digest import Digest

# A wave that no node has joined or confirmed for so long is over. Holders announce again in half the time.
WAVE_SECONDS: Final = 3600.0
# An index node younger than this has not been told everything yet.
YOUNG_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many spots are kept, in all and of one host; beyond, the oldest are forgotten.

    5,000 nodes with 2,000 digests each and 3 index nodes for every digest make 6,000 spots at each node, of some
    400 bytes; a wave that all take part in adds 5,000 for every digest that this node is an index node of.
    One node in a cluster of two has all of its digests at the other.
    """

    spots: int = 200_000
    spots_of_node: int = 20_000


class IndexState:
    """Takes claims and announcements; never refuses one, so that a full desk costs its own memory and no pull.

    `clock` gives seconds and is never set back.
    """

    def __init__(  # noqa: PLR0913 - what it knows and what bounds it, all named
        self,
        own_id: NodeId,
        clock: Callable[[], float],
        *,
        count_members: Callable[[], int] = lambda: 0,
        view: Callable[[], View | None] = lambda: None,
        quotas: Quotas | None = None,
        stripes_from: int = 0,
    ) -> None:
        """`view` gives the members, if there are few enough that this node can know which of them told everything.

        `stripes_from`: as for Wave.
        """
        self._stripes_from = stripes_from
        self._own_id = own_id
        self._clock = clock
        self._count_members = count_members
        self._view = view
        self.books = Books(own_id, lifetime=WAVE_SECONDS)
        self._quotas = quotas or Quotas()
        self._began = clock()
        # Both in the order in which they were last used.
        self._waves: OrderedDict[Digest, tuple[Wave, float]] = OrderedDict()
        self._digests_of: defaultdict[Address, OrderedDict[Digest, None]] = defaultdict(OrderedDict)
        self._spots = 0
        self._hosts = Hosts(lifetime=WAVE_SECONDS)
        self._arrivals = Arrivals()

    def __len__(self) -> int:
        return self._spots

    async def decide(self, claim: Claim) -> ClaimReply:
        """As `claim` does; a claim that had better come after others waits for them, `LINE_SECONDS` at most."""
        if claim.is_question or claim.is_pressed or claim.stripe is not None:
            return self.claim(claim)
        now = self._clock()
        if claim.takes_stripes and self._stripes_from:
            claim = replace(claim, claimant=self._enter(claim.claimant, now))
        if await self._gather(claim):
            return self.claim(claim)
        wave, _ = self._waves.get(claim.digest, (self._new_wave(), now))
        if claim.below and not claim.is_slow and wave.lacks_predecessor(claim):
            has_come = await self._arrivals.wait(claim.digest, claim.below, seconds=LINE_SECONDS)
            await self._gather(claim)
            return replace(self.claim(claim), is_below_missing=not has_come)
        if seconds := wave.seconds_too_early(claim, now):
            await asyncio.sleep(seconds)
            await self._gather(claim)
        return self.claim(claim)

    async def _gather(self, claim: Claim) -> bool:
        """Wait for others with which the claimant may get it in stripes; whether there was anything to wait for."""
        now = self._clock()
        wave, _ = self._waves.get(claim.digest, (None, now))
        seconds = wave.seconds_to_gather(claim, now) if wave is not None and claim.takes_stripes else 0.0
        if wave is None or not seconds:
            return False
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            wave.withdraw(claim.claimant.address)
            raise
        return True

    def claim(self, claim: Claim) -> ClaimReply:
        """The sources that are to give the claimant the content."""
        now = self._clock()
        if claim.stripe is not None and not claim.is_question:
            return self._change_stripe(claim, now)
        is_gathered = self._stripes_from and claim.takes_stripes and not claim.is_question
        if is_gathered and (reply := self._in_stripes(claim, now)):
            return reply
        if claim.is_question:
            wave, _ = self._waves.get(claim.digest, (Wave(), now))
            sources = wave.look(claim, now)
        else:
            claim = replace(claim, claimant=self._enter(claim.claimant, now))
            wave = self._touch(claim.digest, claim.claimant.address, now)
            sources = wave.join(claim, now)
            self._arrivals.arrive(claim.digest, claim.claimant.address)
            self._keep_within_quotas(claim.claimant.address)
        is_new = now - self._began < YOUNG_SECONDS
        claimant = claim.claimant.address
        verdict = ClaimReply(sources, is_new=is_new, before=wave.before(claimant), rank=wave.number(claimant))
        if sources:
            idle = None if claim.is_question else wave.idle_of(sources, now)
            return replace(verdict, is_whole=wave.are_whole(sources), idle=idle)
        if any(address != claimant for address in wave.addresses):
            return verdict  # whoever is in the wave may have it, though it is named to nobody now
        return self._with_books(verdict, now)

    def _in_stripes(self, claim: Claim, now: float) -> ClaimReply | None:
        """The sources of the stripes; None: the claimant gets the content as a whole."""
        wave, _ = self._waves.get(claim.digest, (None, 0.0))
        if wave is None:
            return None
        if gathered := wave.settle(now):
            self._arrange(wave, gathered, now)
        stripes = wave.stripes_for(claim.claimant.address)
        if wave.top_of_stripes is None or not stripes:
            return None
        return ClaimReply((wave.top_of_stripes,), is_new=now - self._began < YOUNG_SECONDS, stripes=stripes)

    def _arrange(self, wave: Wave, gathered: Sequence[Claim], now: float) -> None:
        """Name sources of stripes to all that have been gathered."""
        places = [(one, one.claimant.address) for one in gathered]
        known = [one for one, address in places if address in self._hosts.addresses_of(address.host)]
        # Also of nodes that have gone meanwhile: they are forgotten as others are.
        arranged = wave.arrange(known, now)
        for address in arranged:
            self._touch(gathered[0].digest, address, now)
        for address in arranged:
            self._keep_within_quotas(address)

    def _change_stripe(self, claim: Claim, now: float) -> ClaimReply:
        wave, _ = self._waves.get(claim.digest, (None, 0.0))
        source = wave.change_stripe(claim, now) if wave else None
        return ClaimReply((source,) if source else (), is_new=now - self._began < YOUNG_SECONDS)

    def announce(self, announcement: Announcement) -> Receipt:
        """Take it in."""
        now = self._clock()
        holder = self._enter(announcement.holder, now)
        self._forget(holder.address, announcement.dropped)
        if announcement.is_all:
            self._forget(holder.address, self._digests_of[holder.address].keys() - set(announcement.held))
        self.books.take(announcement, now)
        for digest in announcement.held:
            self._touch(digest, holder.address, now).hold(holder, gives_stripes=announcement.gives_stripes)
        for digest in announcement.arriving:
            self._touch(digest, holder.address, now).begin(holder)
        self._keep_within_quotas(holder.address)
        return Receipt(self._own_id)

    def pass_over(self) -> Receipt:
        """Acknowledge an announcement without keeping it, so that the announcer goes on to other index nodes."""
        return Receipt(self._own_id)

    def _with_books(self, verdict: ClaimReply, now: float) -> ClaimReply:
        """The verdict that no node has it, with the members that have not told whether they have it."""
        view = self._view()
        unheard = self.books.unheard(view, now) if view else ()
        if view is None or len(unheard) > MAX_UNHEARD:
            return verdict
        return replace(verdict, view=view.name, unheard=unheard)

    def _enter(self, place: NodeLocation, now: float) -> NodeLocation:
        """The place as it is kept; of a host that is too many, the one not heard of for longest is forgotten."""
        entered, forgotten = self._hosts.enter(place, now)
        for address in forgotten:
            self.books.lack(address)
            self._forget(address, tuple(self._digests_of[address]))
        return entered

    def _new_wave(self) -> Wave:
        return Wave(crowd=self._count_members(), stripes_from=self._stripes_from)

    def _touch(self, digest: Digest, address: Address, now: float) -> Wave:
        """The wave, in which the address is about to have a spot."""
        wave, _ = self._waves.pop(digest, (None, 0.0))
        wave = wave or self._new_wave()
        self._waves[digest] = wave, now
        digests = self._digests_of[address]
        if digest not in digests:
            self._spots += 1
        digests[digest] = None
        digests.move_to_end(digest)
        return wave

    def _forget(self, address: Address, digests: Iterable[Digest]) -> None:
        known = self._digests_of[address]
        for digest in [digest for digest in digests if digest in known]:
            del known[digest]
            self._spots -= 1
            wave, _ = self._waves.get(digest, (None, 0.0))
            if wave is not None:
                wave.drop(address)
                if not wave.addresses:
                    del self._waves[digest]
        if not known:
            del self._digests_of[address]

    def _keep_within_quotas(self, address: Address) -> None:
        known = self._digests_of.get(address, ())
        count = sum(len(self._digests_of.get(one, ())) for one in self._hosts.addresses_of(address.host))
        if excess := list(islice(known, max(0, count - self._quotas.spots_of_node))):
            self.books.lack(address)
            self._forget(address, excess)
        while self._waves:
            digest = next(iter(self._waves))
            wave, used = self._waves[digest]
            is_over = used + WAVE_SECONDS <= self._clock()
            if self._spots <= self._quotas.spots and not is_over:
                return
            for other in list(wave.addresses):
                if not is_over:
                    self.books.lack(other)
                self._forget(other, [digest])
            self._waves.pop(digest, None)
