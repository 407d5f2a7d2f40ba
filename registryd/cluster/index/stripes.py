"""The trees of the stripes of one content: which node gets which stripe from which node.

Each node passes on one stripe, to as many nodes as there are stripes, and gets the others as a leaf. So every link
carries the content once in each direction (SplitStream, SOSP 2003). One index node arranges all trees of a content,
with all nodes that come at the same moment at once: first those that pass a stripe on, so that the trees are flat.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from registryd.cluster.index.stripe_room import Late, Report, Room, Spot
from registryd.transfer.monitoring.thresholds import (
    REPORTED_SECONDS,
    STRIPE_LEVEL_SECONDS,
    STRIPE_REPORT_SECONDS,
    STRIPE_REPORTS,
)
from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from registryd.cluster.contract.index import NodeLocation
    from registryd.notation import Address

# Of a node that passes a stripe on: with so many below it, it sends as much as it gets.
CHILDREN: Final = STRIPES
# One report may be of the link between two nodes.
_LEAST_REPORTERS: Final = 2
# To so many a node gives the last stripe, of those that had the same source.
_MOST_SPREAD: Final = 2
# When all places are taken, some node gets one child more: of so many that come to mind, the one with the fewest.
# Beside one that is left there may be few that do not get the stripe by way of it.
_LOOKED_AT: Final = 8
_LOOKED_AT_BESIDE: Final = 256
# How long a top that only one node reports is named to that node again. All nodes below a top that gives nothing any
# more find that out, but not at the same moment: some have to wait for bytes that are still in the links.
_TRIED_SECONDS: Final = 3.0
# A node may still report so many of those that were named to it.
_MOST_NAMED: Final = 4 * STRIPES


@dataclass(frozen=True, slots=True)
class Refused:
    """Nodes that are not to be named now."""

    nodes: frozenset[Address] = frozenset()
    now: float = 0.0
    branch: Spot | None = None
    """This one and all that get the stripe by way of it."""


_NONE: Final = Refused()


class StripeTrees:
    """All nodes that get a content in stripes, and the tops that have it first."""

    def __init__(self) -> None:
        self._spots: dict[Address, Spot] = {}
        # Of nodes that were dropped, while others follow them: they may come back, and are above these still.
        self._given: WeakValueDictionary[Address, set[int]] = WeakValueDictionary()
        self._tops: list[Address] = []
        self._room = Room(self._spots)
        self._count: defaultdict[str, int] = defaultdict(int)
        self._receiving: set[Address] = set()

    @property
    def addresses(self) -> Iterable[Address]:
        return self._spots.keys()

    @property
    def top(self) -> Address | None:
        """The node that has all of it first."""
        return self._tops[-1] if self._tops else None

    def is_top(self, address: Address) -> bool:
        return address in self._tops

    def source_of(self, address: Address, stripe: int) -> Address | None:
        """The node that gives this stripe to that one; a top gets it from none."""
        spot = self._spots.get(address)
        source = spot.sources[stripe] if spot else None
        return source.place.address if source else None

    def lead(self, top: NodeLocation) -> None:
        """From now on this node gets the content from elsewhere, or has it."""
        if top.address in self._tops:
            return
        spot = self._spots.get(top.address) or self._put(Spot(top, None))
        for stripe in range(STRIPES):
            self._leave(spot, stripe)
        for other in self._spots.values():  # to these it gives nothing any more: its link is for all stripes now
            for stripe, source in enumerate(other.sources):
                if source is not None and source.place.address == top.address:
                    other.sources[stripe] = None
        self._room.close(spot)
        self._tops.append(top.address)
        spot.own, spot.free, spot.is_slow, spot.reports = None, [1] * STRIPES, False, {}
        self._room.lead(spot)

    def join(self, claimants: Sequence[tuple[NodeLocation, bool]]) -> dict[Address, tuple[Address, ...]]:
        """The sources of all these nodes, each with whether it had better be the source of none."""
        new = [self._enter(place, is_slow=is_slow) for place, is_slow in claimants]
        self._receiving.update(spot.place.address for spot in new)
        for spot in new:
            if spot.own is not None and spot.sources[spot.own] is None:
                self._follow(spot, spot.own, self._best(spot, spot.own, is_inner=True))
        for spot in new:
            for stripe in range(STRIPES):
                if spot.sources[stripe] is None:
                    self._follow(spot, stripe, self._best(spot, stripe, is_inner=False))
        return {spot.place.address: tuple(source.place.address for source in spot.sources if source) for spot in new}

    def change(  # noqa: PLR0913 - what is said of sources, all named
        self,
        address: Address,
        stripe: int,
        *,
        failed: Collection[Address],
        slow: Collection[Address],
        unfit: Collection[Address] = (),
        now: float,
    ) -> Address | None:
        """Another source of this stripe for that node; None: it takes the place of a top that failed, or there is none.

        The same as before if no report is of that, or only this node finds it slow, or for a while where only this node
        says that a top has failed. Nothing is wrong with those that are `unfit`: they do not give it for the name that
        this node wants it for.
        """
        spot = self._spots.get(address)
        if spot is None or self.is_top(address):
            return None
        source = spot.sources[stripe]
        current = source.place.address if source else None
        only_slow = [reported for reported in slow if reported not in failed]
        to_leave = [reported for reported in only_slow if self._is_to_be_left(spot, reported, now)]
        is_as_good = current is not None and self._is_fit(current, spot, stripe, Refused(now=now))
        if is_as_good and not failed and current not in to_leave and current not in unfit:
            return current
        lost = {reported for reported in failed if self._has_lost(spot, reported, stripe, now)}
        if current in failed and current not in lost and self._is_to_be_tried_again(spot, stripe, now):
            return current
        were_tops = [self._suspect(spot, reported, now) for reported in failed if reported in lost]
        if any(were_tops):
            self.lead(spot.place)
            return None
        self._leave(spot, stripe)
        # A node that has become the top breaks off what it gave before. One of those has to get it from there again.
        is_told = stripe in spot.from_top
        refused = frozenset(one for one in (*failed, *slow) if one in slow or is_told or not self.is_top(one))
        at_fault = source if current in (*failed, *to_leave) or not is_as_good else None
        found = self._best_beside(spot, stripe, Refused(refused.union(unfit), now, branch=at_fault))
        self._follow(spot, stripe, found)
        return found

    def change_late(self, address: Address, stripe: int, *, late: Collection[Address], now: float) -> Address | None:
        """Another source of this stripe for a node that has waited for it; the same as before: that one is to be first.

        The source says that it waits itself. That may be so: then a node above it is at fault, and the nodes right
        below that one, which wait as well, are given another source before this one is. None: there is no other.
        """
        spot = self._spots.get(address)
        source = spot.sources[stripe] if spot else None
        if spot is None or self.is_top(address):
            return None
        if source is None:  # it has become the top, and gives each stripe to one node
            found = self._best(spot, stripe, is_inner=spot.own == stripe, refused=Refused(now=now))
            self._follow(spot, stripe, found)
            return found
        current = source.place.address
        if current not in late or self.is_top(current):
            return current
        before = spot.late.get(stripe)
        is_same = before is not None and before.source == current and before.latest > now - STRIPE_REPORT_SECONDS
        due = before.due if before and is_same else now + self._levels_above(source, stripe) * STRIPE_LEVEL_SECONDS
        spot.late[stripe] = Late(current, due, now)
        if now < due:
            return current
        found = self._best(spot, stripe, is_inner=spot.own == stripe, refused=Refused(now=now, branch=source))
        if found is not None:
            self._is_to_be_left(spot, current, now)
            self._leave(spot, stripe)
            self._follow(spot, stripe, found)
        return found

    def spread(
        self, address: Address, stripe: int, *, places: int, unfit: Collection[Address] = (), now: float
    ) -> Address | None:
        """A source with few followers for a node that has all other stripes; the same as before if there is none.

        Where one stripe comes last, only an eighth of the nodes pass it on, each to as many as there are stripes, and
        the links of all others are idle. So each of those gives it to some that get it from the same source and say so
        later: all stay below that one. Once for each stripe: nobody is to have the others of half a cluster below it.
        """
        spot = self._spots.get(address)
        source = spot.sources[stripe] if spot else None
        if spot is None or source is None or self.is_top(address):
            return None
        known = source.spare.get(stripe, {}).items()
        siblings = source.spare[stripe] = {other: free for other, free in known if free and other in self._spots}
        found = None
        if self._children(source) > _MOST_SPREAD:
            found = self._spare(siblings, spot, source, stripe, Refused(frozenset(unfit), now))
        if not (spot.is_slow or stripe in spot.last):
            spot.last |= {stripe}
            siblings[address] = min(places, _MOST_SPREAD)
        if found is None:
            return source.place.address
        siblings[found] -= 1
        self._leave(spot, stripe)
        self._follow(spot, stripe, found)
        return found

    def _spare(
        self, siblings: Iterable[Address], spot: Spot, source: Spot, stripe: int, refused: Refused
    ) -> Address | None:
        """The first of these that still gets the stripe by way of the source.

        So whatever becomes of the answer, nobody is put below a node that really gets the stripe by way of it. Those
        that pass the stripe on anyway, to many, stay below others that do. Links between zones are thin.
        """

        def is_alike(other: Spot) -> bool:
            passes_it_on = other.own == stripe or spot.own != stripe
            return passes_it_on and other.place.zone == spot.place.zone and source in self._upwards(other, stripe)

        fit = (one for one in siblings if is_alike(self._spots[one]) and self._is_fit(one, spot, stripe, refused))
        return next(fit, None)

    def _levels_above(self, spot: Spot, stripe: int) -> int:
        """How many nodes above this one may be at fault: all but the top."""
        return sum(not self.is_top(above.place.address) for above in self._upwards(spot, stripe)) - 1

    def release(self, address: Address) -> None:
        """The node has all of it, and takes nothing from its sources any more."""
        if spot := self._spots.get(address):
            self._receiving.discard(address)
            for stripe in range(STRIPES):
                self._leave(spot, stripe)

    @property
    def is_over(self) -> bool:
        """Whether all nodes have all of it."""
        return not self._receiving

    def drop(self, address: Address) -> None:
        """The node does not have it, and is not getting it."""
        spot = self._spots.pop(address, None)
        if spot is None:
            return
        self._receiving.discard(address)
        if address in self._tops:
            self._tops.remove(address)
        for stripe in range(STRIPES):
            self._leave(spot, stripe)
        self._room.close(spot)
        self._given[address] = spot.given  # for as long as this spot is among the sources of another

    def some(self, count: int) -> list[Address]:
        """Nodes that get it early: those that pass something on."""
        found: dict[Address, None] = {}
        for nodes in self._room.inner():
            found.update(dict.fromkeys(address for address in nodes[:2] if self._is_well(address)))
        return list(found)[:count]

    def _enter(self, place: NodeLocation, *, is_slow: bool) -> Spot:
        spot = self._spots.get(place.address)
        if spot is None:
            number = self._count[place.zone]
            own = None if is_slow else number % STRIPES
            spot = self._put(Spot(place, own, is_slow=is_slow))
            if own is not None:
                self._count[place.zone] += 1
                spot.free[own] = CHILDREN
        return spot

    def _put(self, spot: Spot) -> Spot:
        self._spots[spot.place.address] = spot
        spot.given = self._given.get(spot.place.address, spot.given)
        return spot

    def _follow(self, spot: Spot, stripe: int, address: Address | None) -> None:
        if address is None:
            return
        source = spot.sources[stripe] = self._spots[address]
        if len(spot.named) >= _MOST_NAMED:
            spot.named = {other.place.address for other in spot.sources if other}
        spot.named.add(address)
        spot.from_top.discard(stripe)
        if self.is_top(address):
            spot.from_top.add(stripe)
        source.given.add(stripe)
        source.free[self._slot(source, stripe)] -= not spot.is_slow
        if spot.own == stripe and not spot.is_inner:
            spot.is_inner = True
            self._room.add_inner(spot, stripe)

    def _leave(self, spot: Spot, stripe: int) -> None:
        source, spot.sources[stripe] = spot.sources[stripe], None
        if source is not None and not spot.is_slow:
            self._room.give_back(source, self._slot(source, stripe))

    def _slot(self, source: Spot, stripe: int) -> int:
        """Which of its stripes this child takes the room of: a node that is not full may give any stripe.

        A top has none of its own, and a place for each.
        """
        return stripe if source.own is None else source.own

    def _best(self, spot: Spot, stripe: int, *, is_inner: bool, refused: Refused = _NONE) -> Address | None:
        """The source for that stripe: links between zones are thin, so one of the same zone if there is any.

        None, and the node gets the whole: where most nodes have failed, all would crowd at the top.
        """
        zone = spot.place.zone
        found = self._of_zone(spot, stripe, zone, is_inner=is_inner, refused=refused)
        if found is None and zone:
            others = [other for other in self._room.zones(stripe) if other != zone]
            ways = (self._of_zone(spot, stripe, other, is_inner=is_inner, refused=refused) for other in others)
            found = next((way for way in ways if way is not None), None)
        if found is None:
            fit = [top for top in self._tops if self._is_fit(top, spot, stripe, refused)]
            tops = [top for top in fit if self._spots[top].free[stripe] > 1 - CHILDREN]
            found = max(tops, key=lambda top: self._spots[top].free[stripe], default=None)
        return found

    def _best_beside(self, spot: Spot, stripe: int, refused: Refused) -> Address | None:
        """The best source that does not get the stripe by way of the one that is left, which may be above most nodes.

        All that it gives to leave it at the same moment: one takes its place, and the others are put below that one.
        """
        is_inner = spot.own == stripe
        found = self._best(spot, stripe, is_inner=is_inner, refused=refused)
        if found is None and refused.branch is not None:
            found = self._best(spot, stripe, is_inner=is_inner, refused=replace(refused, branch=None))
        return found

    def _of_zone(self, spot: Spot, stripe: int, zone: str, *, is_inner: bool, refused: Refused) -> Address | None:
        """Nodes that pass it on go as far up as possible, leaves as far down; then whatever has most room."""
        among = _LOOKED_AT_BESIDE if refused.branch else _LOOKED_AT

        def is_fit(address: Address) -> bool:
            return self._is_fit(address, spot, stripe, refused)

        if is_inner:
            found = self._room.first(stripe, zone, is_fit, is_from_left=True)
            return found or self._room.one_more(stripe, zone, is_fit, among=among)

        def is_leaf_fit(address: Address) -> bool:
            is_kept = self.is_top(address) and self._room.has_inner(stripe, zone)  # for one that passes it on
            return not is_kept and is_fit(address)

        found = self._room.first(stripe, zone, is_leaf_fit)
        for other in range(STRIPES):
            if found is None and self._room.has_inner(stripe, zone):

                def can_give(address: Address, other: int = other) -> bool:
                    return self._spots[address].own == other and is_leaf_fit(address)

                found = self._room.first(other, zone, can_give)
        return found or self._room.one_more(stripe, zone, is_fit, among=among)

    def _is_fit(self, address: Address, spot: Spot, stripe: int, refused: Refused) -> bool:
        other = self._spots.get(address)
        if other is None or other is spot or address in refused.nodes or other.is_slow:
            return False
        if other.suspected_until > refused.now:
            return False
        if stripe not in spot.given and refused.branch is None:
            return True
        branch = refused.branch.place.address if refused.branch else None
        return all(above is not spot and above.place.address != branch for above in self._upwards(other, stripe))

    def _upwards(self, spot: Spot | None, stripe: int) -> Iterator[Spot]:
        for _ in range(len(self._spots)):
            if spot is None:
                return
            yield spot
            above = spot.sources[stripe]
            spot = (self._spots.get(above.place.address) or above) if above else None  # that one may be gone

    def _is_well(self, address: Address) -> bool:
        spot = self._spots.get(address)
        return spot is not None and not spot.is_slow

    def _is_to_be_left(self, spot: Spot, address: Address, now: float) -> bool:
        """Note that this node is slow to that one; whether it is slow to most, or has been for long to this one."""
        other = self._spots.get(address)
        if other is None or address not in spot.named or self.is_top(address):
            return False
        other.forget_reports(before=now - STRIPE_REPORT_SECONDS)
        report = other.reports.setdefault(spot.place.address.host, Report(now))
        report.latest, report.count = now, report.count + 1
        if len(other.reports) >= _LEAST_REPORTERS and len(other.reports) * 2 >= self._children(other):
            self._slow_down(other)
        return other.is_slow or report.count >= STRIPE_REPORTS

    def _children(self, spot: Spot) -> int:
        """How many nodes get something from it."""
        return CHILDREN - spot.free[spot.own] if spot.own is not None else 0

    def _slow_down(self, spot: Spot) -> None:
        if spot.is_slow:
            return
        spot.is_slow = True
        # It takes little of the links of its sources: they have room for one more each.
        for stripe, source in enumerate(spot.sources):
            if source is not None:
                self._room.give_back(source, self._slot(source, stripe))

    def _has_lost(self, spot: Spot, address: Address, stripe: int, now: float) -> bool:
        """Note that this node reports that one as failed; whether the other one loses its place for it.

        Another top costs a copy, and everybody time, and who says that a top has failed may be at fault itself. When a
        top is gone or slow, all that it gives a stripe say so: it takes two hosts, if it gives something to two.
        """
        other = self._spots.get(address)
        if address not in spot.named:
            return False
        if other is None or not self.is_top(address):
            return True
        if stripe not in spot.from_top:
            return False  # a node that has become the top breaks off what it gave before
        other.forget_reports(before=now - REPORTED_SECONDS)
        other.reports[spot.place.address.host] = Report(now)
        return len(other.reports) >= _LEAST_REPORTERS or not self._gives_to_another_host(other, spot)

    def _gives_to_another_host(self, top: Spot, spot: Spot) -> bool:
        """Whether the top gives a stripe to a host other than this node's."""
        return any(
            source is not None and source.place.address == top.place.address
            for other in self._spots.values()
            if other.place.address.host != spot.place.address.host
            for source in other.sources
        )

    def _is_to_be_tried_again(self, spot: Spot, stripe: int, now: float) -> bool:
        """Whether the source is a top that this node has not reported for this stripe before, or only a moment ago."""
        top = spot.sources[stripe]
        is_from_top = top is not None and self.is_top(top.place.address) and stripe in spot.from_top
        return is_from_top and now - spot.tried_again.setdefault(stripe, now) < _TRIED_SECONDS

    def _suspect(self, spot: Spot, address: Address, now: float) -> bool:
        """Name this node, which did not help, to nobody for a while; whether it was the last top."""
        other = self._spots.get(address)
        spot.named.discard(address)
        if other is not None:
            other.suspected_until = now + REPORTED_SECONDS
        if address in self._tops:
            self.drop(address)  # it has no sources here
            return not self._tops
        return other is None and not self._tops
