"""The spread of one digest: which node gets it from which.

The nodes that want a digest at the same time form a tree. At the top are the nodes that get it from elsewhere (from the
origin, or from a node that has had it for long). A newcomer takes the place where it waits least:

    depth + children · weight

One more level costs the time in which one step of the content passes. One more child costs a share of the source's link
for as long as the source needs to send everything once: `weight` is this time, in steps. So large content travels down
a chain, until the chain is so long that half the rate is better, and small content spreads like a star. Both costs have
the same unit, so the index node need not know the links' bandwidth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registryd.cluster.contract.index import NodeLocation
from registryd.cluster.index.rush import LEAST_BYTES, Rush, are_few
from registryd.cluster.index.stripes import StripeTrees
from registryd.cluster.index.tree import FollowerTree, Spot
from registryd.transfer.monitoring.thresholds import REPORTED_SECONDS
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from registryd.cluster.contract.index import Claim
    from registryd.notation import Address

# So much has to arrive before the next node sees any: agents pass on 128 KiB at a time (registryd.transfer.inflow),
# and the milliseconds that each takes of its own are counted as much again.
STEP_BYTES: Final = 256 << 10
# In a cluster with more nodes than the content has steps, a chain of all would take longer than half the rate does, and
# a tree is to be bushy from its top on. How bushy, by simulation of 20 to 1,000 nodes and 1 to 100 MiB: a weight of a
# third of the steps. A twelfth gains a fiftieth with large content and 1,000 nodes, and nearly doubles the time that
# small content takes.
_BUSHY: Final = 1 / 3
# What is supposed while nobody says how large it is: a layer of middling size.
_SUPPOSED_BYTES: Final = 16 << 20
# How long a claim may wait for others that had better come first, and are about to claim it, too: less than index nodes
# are waited for. One that came before and has the content already does not claim: then this much is lost, once.
LINE_SECONDS: Final = 0.2
# So long after its first claim, a node is told to wait for the node that had claimed the manifest just before it. On a
# busy machine, nodes of a wave claim the same layer within 0.7 s of each other (benchmarks.rollout): twice that.
EXPECTED_SECONDS: Final = 1.5
# By then a node that was told of an idle holder has begun there, and the holder says so itself.
IDLE_SECONDS: Final = 1.0
# Who came longer ago than this did not come just before.
RUSH_SECONDS: Final = 10.0
# Who finds its source gone can turn to two more without asking again, if they have all of it.
SOURCES: Final = 3
# Who gets it from several at once asks for so many, and chooses among them: not everybody is to choose the same.
SEVERAL: Final = 12
# Of those that ought to get it as quickly as a node that is doubted, so many are named: one may be slow itself.
_WITNESSES: Final = 2
# How often it may turn out to have another size than was said before. It has one.
_MOST_SIZINGS: Final = 4
# How often it may turn out to be such that it may come in stripes, or not: each costs a look at all nodes.
_MOST_TURNS: Final = 4
# An origin that refuses one node mostly refuses all: after so many tops failed, everyone may ask for himself.
_MOST_FAILED_TOPS: Final = 3
# In clusters of so many times peers.stripes_from, a part of that number is enough: more are to follow, mostly. With
# fewer than two for each stripe, trees get deep. By simulation of 1,000 nodes that begin within 10 s.
_MANY_TIMES: Final = 4
_LEAST_STRIPED: Final = 2 * STRIPES


class Wave:
    """The tree of one digest. `now` is in seconds of any clock, always the same one."""

    def __init__(self, crowd: int = 0, *, stripes_from: int = 0) -> None:
        """`crowd` is how many may come to want it; with `stripes_from` at the same moment, it comes in stripes."""
        self._crowd = crowd
        self._stripes_from = _least_at_once(stripes_from, crowd)
        # Most waves have none: nobody claims what they are of, or nothing comes in stripes.
        self._rush: Rush | None = None
        self._stripes: StripeTrees | None = None
        self._wholes = 0
        # Of the nodes that came: how many can get it in stripes, and how many cannot.
        self._able = self._unable = self._turns = 0
        self._steps = _SUPPOSED_BYTES / STEP_BYTES
        self._size: int | None = None
        self._sizings = 0
        self._tree = FollowerTree(self._weight)
        # Nearly always none, and an empty set of its own would be a tenth of what a wave takes.
        self._strangers: frozenset[Address] = frozenset()
        # Tops whose containerd has not asked for it yet: they can still be told to get it from somebody else.
        self._intending: frozenset[Address] = frozenset()
        self._count = 0
        self._opened_at: float | None = None
        self._latest: dict[str, tuple[Address, float]] = {}
        self._failed_tops = 0
        self._last_failed_top = 0.0

    @property
    def addresses(self) -> Collection[Address]:
        """All nodes that have the content or get it."""
        others = self._stripes.addresses if self._stripes else ()
        if self._strangers or self._stripes:
            return {*self._tree.addresses, *self._strangers, *others}
        return self._tree.addresses

    def join(self, claim: Claim, now: float) -> tuple[Address, ...]:
        """The claimant's sources, the best first; empty: the claimant is at the top, and goes to the origin."""
        self._learn_size(claim)
        if self._stripes_from:
            self._claimed_together().note(claim, now, is_new=self._tree.get(claim.claimant.address) is None)
        if claim.is_pressed:  # nobody is to wait for what is fetched besides
            self.drop(claim.claimant.address)
            self.begin(claim.claimant)
            return ()
        spot = self._spot(claim.claimant)
        if self._stripes is not None and not self._stripes.is_top(claim.claimant.address):
            spot.was_striped = spot.was_striped or claim.claimant.address in self._stripes.addresses
            self._stripes.drop(claim.claimant.address)  # what it gets as a whole it gives as a whole
        self._count_able(spot, claim)
        spot.places = 1 if claim.places is None or self._is_chain else claim.places
        spot.rank = spot.rank if claim.rank is None else claim.rank
        spot.is_last = claim.is_slow
        spot.gives_stripes = spot.gives_stripes or claim.takes_stripes
        self._line_up(spot, now)
        self._take_reports(spot, claim, now)
        self._set_whole(spot, is_whole=False)
        spot.suspected_until = 0.0
        refused, slow = frozenset((*claim.failed, *claim.unfit)), frozenset(claim.slow)
        stays = spot.source is not None and spot.source not in refused | slow and self._tree.get(spot.source)
        is_good = stays and stays.suspected_until <= now and not (stays.is_slow or stays.is_last)
        # A slow one takes a share of the link from those that follow the same source: it goes where it costs least.
        if stays and is_good and not claim.is_slow and not self._gives_way(stays, spot, claim):
            spot.named.add(stays.place.address)  # it may have been put there without being told
            return (stays.place.address,)
        self._tree.leave_source(spot)
        found = [] if self._is_hopeless(now) else self._best(spot, refused | slow, now, claim)
        leads = self._leads(spot)
        if claim.is_slow and not found and stays and not self._tree.behind(spot)(stays):
            found = [stays]  # from which it gets the content all the while
        waits_for_nobody = leads or (found and found[0].is_whole)
        if claim.below and not waits_for_nobody and self._is_to_come(spot, claim, now):
            self._tree.expect(spot, NodeLocation(claim.below, spot.place.zone))
            self._intending -= {spot.place.address}
            return (claim.below,)
        if slow and not found and not leads:  # what comes slowly still comes: the origin has nothing to do with it
            found = self._best(spot, refused, now, claim)
        self._tree.follow(spot, found[0].place.address if found else None)
        self._intending -= {spot.place.address}
        if not found:
            self._lead(spot, claim)
        # Others than the first may be followed only if they wait for nobody: else nodes could wait in a circle.
        others = [other for other in found[1:] if other.is_whole]
        for other in others:
            self._tree.offer(other)  # behind its equals: the next claimant is named others
        sources = tuple(other.place.address for other in [*found[:1], *others])
        spot.named.update(sources)
        return sources

    # In stripes

    def seconds_to_gather(self, claim: Claim, now: float) -> float:
        """How long the claim is to wait for others, with which it may get the content in stripes."""
        if not self._stripes_from:
            return 0.0
        if not self._tree.addresses or self._is_to_lead(claim):
            return 0.0
        if self._tree.get(claim.claimant.address) is not None:
            return 0.0  # nodes in stripes could wait for nodes that get it as a whole from this one
        return self._claimed_together().seconds(claim, now, is_striped=self._stripes is not None, holders=self._wholes)

    def _claimed_together(self) -> Rush:
        self._rush = self._rush or Rush(self._stripes_from)
        return self._rush

    def _is_to_lead(self, claim: Claim) -> bool:
        """Whether the claimant is to fetch it in place of a node that only intends to."""
        tops = [self._tree.get(address) for address in self._intending]
        return any(top is not None and claim.rank is not None and top.rank > claim.rank for top in tops)

    def withdraw(self, address: Address) -> None:
        """The node does not wait for others any more."""
        if self._rush is not None:
            self._rush.withdraw(address)

    def settle(self, now: float) -> list[Claim]:
        """The claims that have been gathered and are to get the content in stripes now."""
        return [] if self._rush is None else self._rush.settle(now, is_striped=self._stripes is not None)

    def arrange(self, claims: Collection[Claim], now: float) -> list[Address]:
        """Name sources of stripes to these claimants; returns those that are among the nodes in stripes now."""
        stripes = self._stripes or StripeTrees()
        if stripes.top is None:
            tops = self._tops(now)
            if self._wholes >= STRIPES and not any(top.is_whole for top in tops):
                return []  # these give no stripes, and any of them gives all of it
            for top in tops:
                stripes.lead(top.place)
        places = [(claim.claimant, claim.is_slow) for claim in claims if not stripes.is_top(claim.claimant.address)]
        if stripes.top is None or not places:
            return []
        self._stripes = stripes
        found = stripes.join(places)
        self._claimed_together().assigned.update(found)
        self._strangers -= found.keys()
        return list(found)

    def stripes_for(self, address: Address) -> tuple[Address, ...]:
        """The claimant's source of each stripe; none: it gets the content as a whole."""
        found = () if self._rush is None else self._rush.assigned.pop(address, ())
        return found if len(found) == STRIPES else ()

    def _tops(self, now: float) -> list[Spot]:
        """The nodes that are to be the tops of stripes: some that have all of it, or else one that gives it to nobody.

        That is the node that fetches it; or, when many come after others that get it as a whole, one of those.
        """
        spots = [self._tree.get(address) for address in self._tree.addresses]
        able = [spot for spot in spots if spot and spot.gives_stripes and spot.suspected_until <= now]
        well = [spot for spot in able if not (spot.is_slow or spot.is_last)] or able
        tops = [spot for spot in well if spot.source is None]
        idle = [spot for spot in tops if spot.is_whole or not spot.children]
        if idle:
            return sorted(idle, key=lambda spot: (not spot.is_whole, spot.children))[:STRIPES]
        # Not one that waits for a node which has not come, or by way of one that gets stripes.
        last = [spot for spot in well if spot.source and not spot.children and self._comes_from_elsewhere(spot, now)]
        # One with no place for children here passes other layers on.
        last.sort(key=lambda spot: (not spot.places, self._tree.cost(spot)))
        return last[:1] or tops[:1]

    def _leads(self, spot: Spot) -> bool:
        """Whether all that get it in stripes wait for this one."""
        return self._stripes is not None and self._stripes.is_top(spot.place.address)

    def _comes_from_elsewhere(self, other: Spot, now: float) -> bool:
        """Whether the other gets it by way of nodes that have never got it in stripes.

        One that has may get it from any that still do, as long as all members of a small cluster are asked.
        """
        striped = self._stripes.addresses if self._stripes is not None else ()
        way = list(self._tree.upwards(other))
        is_good = way[-1].source is None and way[-1].suspected_until <= now
        return is_good and not any(each.was_striped or each.place.address in striped for each in way)

    @property
    def top_of_stripes(self) -> Address | None:
        return self._stripes.top if self._stripes else None

    def change_stripe(self, claim: Claim, now: float) -> Address | None:
        """Another source of a stripe; None: there is none, or the claimant is to get the content from elsewhere."""
        if self._stripes is None or claim.stripe is None:
            return None
        if claim.places:
            return self._stripes.spread(
                claim.claimant.address, claim.stripe, places=claim.places, unfit=claim.unfit, now=now
            )
        if claim.is_late and all(map(self._stripes.is_top, claim.failed)):
            late = (*claim.slow, *claim.failed)
            return self._stripes.change_late(claim.claimant.address, claim.stripe, late=late, now=now)
        found = self._stripes.change(
            claim.claimant.address, claim.stripe, failed=claim.failed, slow=claim.slow, unfit=claim.unfit, now=now
        )
        if found is None and self._stripes.is_top(claim.claimant.address):
            spot = self._spot(claim.claimant)
            spot.gives_stripes = True
            self._tree.leave_source(spot)
            self._tree.follow(spot, None)
            for address in claim.failed:
                if (reported := self._tree.get(address)) and not reported.is_whole:
                    reported.suspected_until = now + REPORTED_SECONDS
        return found

    def _lead(self, spot: Spot, claim: Claim) -> None:
        """Make this node the fetcher: nodes that only intend to fetch get the content from it."""
        for top in [self._tree.get(address) for address in self._intending]:
            if top is not None and _goes_before(claim, spot, top):
                self._intending -= {top.place.address}
                self._tree.follow(top, spot.place.address)
        if claim.is_ahead:
            self._intending |= {spot.place.address}

    def _gives_way(self, other: Spot, spot: Spot, claim: Claim) -> bool:
        """Whether the fetcher above the other node should rather get the content from this spot."""
        if not self._intending:
            return False
        top = self._tree.top_of(other)
        return top.place.address in self._intending and _goes_before(claim, spot, top)

    def lacks_predecessor(self, claim: Claim) -> bool:
        """Whether it is a chain, and the node below which the claimant would best be has not claimed yet.

        The layers of an image are to come down a chain in the same order of nodes: then the streams on each link all
        go the same way, and make up for each other where they share it unevenly.
        """
        self._learn_size(claim)
        return self._is_chain and claim.below is not None and not self._has_claimed(claim.below)

    def _has_claimed(self, address: Address) -> bool:
        """Whether the node gets the content, or has it; one that gets stripes is not going to claim the whole."""
        return self._tree.get(address) is not None or (self._stripes is not None and address in self._stripes.addresses)

    def _is_to_come(self, spot: Spot, claim: Claim, now: float) -> bool:
        """Whether the predecessor has not claimed yet, and may still do so.

        The claimant had better wait for it than take another place: then the layers of an image would come down chains
        of different orders. There, several nodes share the link of one, and the links of others are idle.
        """
        if claim.below is None or claim.rank is None or spot.joined_at is None or not self._is_chain:
            return False
        is_known = self._has_claimed(claim.below) or claim.below in (*claim.failed, *claim.unfit, *claim.slow)
        return not (is_known or claim.is_slow) and now - spot.joined_at < EXPECTED_SECONDS

    def seconds_too_early(self, claim: Claim, now: float) -> float:
        """How long the claim may wait for others.

        In a tree, nodes that pass the content on to several are to be at the top. Nodes that pass it on to none fill
        the places that are left, in whatever order they came. A slow node comes after all others.
        """
        self._learn_size(claim)
        is_leaf = not self._is_chain and claim.below is not None and claim.places == 0
        if not (is_leaf or claim.is_slow):
            return 0.0
        opened_at = now if self._opened_at is None else self._opened_at
        return max(0.0, opened_at + LINE_SECONDS - now)

    def before(self, address: Address) -> Address | None:
        """The node that came just before this one."""
        spot = self._tree.get(address)
        return spot.before if spot else None

    def number(self, address: Address) -> int | None:
        """How many nodes came before this one."""
        spot = self._tree.get(address)
        return spot.number if spot else None

    def are_whole(self, addresses: Collection[Address]) -> bool:
        """Whether all of these are known to have all of it."""
        spots = [self._tree.get(address) for address in addresses]
        return all(spot is not None and spot.is_whole for spot in spots)

    def idle_of(self, sources: Sequence[Address], now: float) -> Address | None:
        """One of the sources that has all of it and gives it to nobody, if the first is still getting it.

        After the same one was told to a node, others are told of it only when that node has had time to begin there.
        While more nodes get it than have it, a holder is soon needed for what it passes on already: 500 nodes whose
        starts quicken over 10 s took a third longer (simulated).
        """
        first, *others = [self._tree.get(address) for address in sources]
        if first is None or first.is_whole:
            return None
        free = (other for other in others if other and other.is_whole and not other.children)
        idle = next((other for other in free if other.called_idle_at + IDLE_SECONDS <= now), None)
        if idle is None or 2 * self._wholes < len(self.addresses):
            return None
        idle.called_idle_at = now
        return idle.place.address

    def look(self, claim: Claim, now: float) -> tuple[Address, ...]:
        """The sources that `join` would name, without joining."""
        if claim.beside and claim.stripe is not None and self._stripes and claim.beside in self._stripes.addresses:
            giver = self._stripes.source_of(claim.beside, claim.stripe)
            return (giver,) if giver else ()
        if claim.beside:
            return self._beside(claim.beside)
        count = max(SOURCES, min(claim.places or 0, SEVERAL))
        refused = frozenset((*claim.failed, *claim.unfit))
        found = [other.place.address for other in self._best(Spot(claim.claimant), refused, now, claim, count)]
        if self._stripes is not None and not claim.places:
            some = [other for other in self._stripes.some(2 * SOURCES) if other != claim.claimant.address]
            found = [*some, *(other for other in found if other not in some)][:count]
        return tuple(found)

    def _beside(self, address: Address) -> tuple[Address, ...]:
        """The nodes that ought to get it as quickly: two siblings; if there are fewer, the source.

        With two siblings the source is left out: at the top, it gets the content with a whole link, of which the
        siblings have shares. Nodes of another zone are left out: the link between zones is thin, and a node that leaves
        its source for this reason would fill it once more.
        """
        spot = self._tree.get(address)
        source = self._tree.get(spot.source) if spot and spot.source else None
        if spot is None or source is None or source.place.zone != spot.place.zone:
            return ()
        found = [other for other in self._tree.beside(spot) if other.place.zone == spot.place.zone]
        found = found[:_WITNESSES] if len(found) >= _WITNESSES else [*found, source]
        return tuple(other.place.address for other in found)

    def hold(self, holder: NodeLocation, *, gives_stripes: bool = False) -> None:
        """The node has all of it."""
        spot = self._spot(holder)
        self._tree.leave_source(spot)
        self._intending -= {holder.address}
        self._set_whole(spot, is_whole=True)
        spot.suspected_until, spot.gives_stripes = 0.0, gives_stripes
        self._tree.follow(spot, None)
        if self._stripes is not None:
            self._stripes.release(holder.address)
            self._stripes = None if self._stripes.is_over else self._stripes

    def _set_whole(self, spot: Spot, *, is_whole: bool) -> None:
        self._wholes += is_whole - spot.is_whole
        spot.is_whole = is_whole

    def begin(self, holder: NodeLocation) -> None:
        """Note that the node is getting the content. Its source is unknown without a claim, so it is not named.

        The node might get the content by way of a claimant to which it would be named. A node that asks it finds out
        what it has.
        """
        if self._tree.get(holder.address) is None:
            self._strangers |= {holder.address}

    def drop(self, address: Address) -> None:
        """The node does not have it, and is not getting it."""
        self._strangers -= {address}
        self._intending -= {address}
        if spot := self._tree.get(address):
            self._set_whole(spot, is_whole=False)
        self._tree.uproot(address)
        self.withdraw(address)
        if self._stripes is not None:
            self._stripes.drop(address)
            self._stripes = None if self._stripes.is_over else self._stripes

    @property
    def _is_chain(self) -> bool:
        """Whether each node is to pass the content on to one other.

        So it is where the content comes in stripes when many want it at once. While few have come, a node that passes
        on another layer only would leave this one to the node that fetches all of them, which would send each twice.
        """
        return self._crowd <= self._steps or self._may_come_in_stripes

    @property
    def _may_come_in_stripes(self) -> bool:
        is_large = self._steps >= LEAST_BYTES / STEP_BYTES
        return self._stripes_from > 0 and is_large and are_few(self._unable, among=self._able)

    def _count_able(self, spot: Spot, claim: Claim) -> None:
        if spot.joined_at is not None or self._turns >= _MOST_TURNS:
            return
        was_chain = self._is_chain
        self._able, self._unable = self._able + claim.takes_stripes, self._unable + (not claim.takes_stripes)
        if self._is_chain is not was_chain:
            self._turns += 1
            self._tree.reweigh(self._weight)

    @property
    def _weight(self) -> float:
        """The cost of another child, counted in levels."""
        return self._steps if self._is_chain else self._steps * _BUSHY

    def _learn_size(self, claim: Claim) -> None:
        # To weigh all anew whenever somebody says something else would cost everybody.
        if claim.size is not None and claim.size != self._size and self._sizings < _MOST_SIZINGS:
            self._size, self._sizings = claim.size, self._sizings + 1
            self._steps = claim.size / STEP_BYTES
            self._tree.reweigh(self._weight)

    def _spot(self, place: NodeLocation) -> Spot:
        spot = self._tree.get(place.address)
        if spot is None:
            self._strangers -= {place.address}
            spot = Spot(place)
            self._tree.plant(spot)
        spot.place = place
        return spot

    def _line_up(self, spot: Spot, now: float) -> None:
        """Note the node of its own zone that came just before it: links between zones are thin."""
        if self._opened_at is None:
            self._opened_at = now
        if spot.joined_at is None or spot.joined_at + RUSH_SECONDS < now:
            zone = spot.place.zone
            latest, latest_at = self._latest.get(zone, (None, 0.0))
            spot.before = latest if latest_at + RUSH_SECONDS >= now and latest != spot.place.address else None
            spot.joined_at = now
            spot.number = self._count
            self._count += 1
            self._latest[zone] = spot.place.address, now

    def _take_reports(self, spot: Spot, claim: Claim, now: float) -> None:
        for address in claim.slow:
            if address in spot.named and (slow := self._tree.get(address)):
                self._tree.slow_down(slow)
        for address in claim.failed:
            reported = self._tree.get(address)
            # Only what was named to it counts: one bad member cannot make everybody suspect.
            if reported is None or address not in spot.named:
                continue
            spot.named.discard(address)
            if address in self._intending:  # it means to fetch it no longer: nothing has failed
                self.drop(address)
                continue
            is_news = reported.suspected_until <= now
            reported.suspected_until = now + REPORTED_SECONDS
            if reported.source is None and not reported.is_whole and is_news:  # not once for each of its followers
                self._failed_tops += 1
                self._last_failed_top = now

    def _is_hopeless(self, now: float) -> bool:
        if now - self._last_failed_top > REPORTED_SECONDS:
            self._failed_tops = 0
        return self._failed_tops >= _MOST_FAILED_TOPS

    def _best(
        self, spot: Spot, refused: frozenset[Address], now: float, claim: Claim, count: int = SOURCES
    ) -> list[Spot]:
        """The spots that cost least, of the claimant's own zone if it has any: links between zones are thin.

        In a chain, the spot below which the claimant would best be comes before them, if no other node follows it.
        """
        tree = self._tree

        def is_ranked(other: Spot) -> bool:
            return claim.rank is not None and claim.rank < other.rank

        is_behind, leads = tree.behind(spot), self._leads(spot)

        def is_fit(other: Spot) -> bool:
            is_refused = other.place.address in refused or other.suspected_until > now
            is_refused = is_refused or (leads and not (other.is_whole or self._comes_from_elsewhere(other, now)))
            # The node that has not come yet is to come after the claimant.
            is_refused = is_refused or (is_ranked(other) and tree.waits_for_expected(other))
            return not (is_refused or is_behind(other) or self._gives_way(other, spot, claim))

        found = tree.cheapest(spot.place.zone, is_fit, count)
        if not found:
            found = [other for zone in tree.zones() for other in tree.cheapest(zone, is_fit, count)]
        found.sort(key=tree.cost)
        other = tree.get(claim.below) if claim.below and self._is_chain else None
        if other is not None and self._is_end_near(other, spot, found) and is_fit(other):
            found = [other, *(one for one in found if one is not other)]
        return found[:count]

    def _is_end_near(self, other: Spot, spot: Spot, found: Collection[Spot]) -> bool:
        """Whether the other is the end of a chain in the spot's zone, hardly further down than the best of those found.

        In the order of another layer a chain may be longer than it would become by itself.
        """
        if other.children or other.is_last or other.place.zone != spot.place.zone:
            return False
        return self._tree.cost(other) <= min(map(self._tree.cost, found), default=0.0) + self._weight


def _least_at_once(stripes_from: int, crowd: int) -> int:
    """How many nodes have to come at the same moment, in a cluster of that size; 0: nothing comes in stripes."""
    if crowd < stripes_from:
        return 0
    is_large = crowd >= _MANY_TIMES * stripes_from
    return min(stripes_from, max(_LEAST_STRIPED, stripes_from // _MANY_TIMES)) if is_large else stripes_from


def _goes_before(claim: Claim, spot: Spot, top: Spot) -> bool:
    """Whether a claimant had better fetch it than one whose containerd has not asked for it yet.

    The first of an image waits for no mere intention: else the first of two images could wait for each other.
    """
    return top.rank > spot.rank or (top.rank == spot.rank and not (claim.is_ahead or claim.is_question))
