"""The nodes that get or have one digest, and which of them gets it from which."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from registryd.cluster.contract.index import NodeLocation
    from registryd.notation import Address

# Per source and digest. Beyond, sending small content to one more costs as much as another level of the tree: a call
# and a Read are some 2 ms of a node's processor, and a round trip as much.
MOST_CHILDREN: Final = 16
# More than any place in a tree costs: a slow node is followed only when there is no other.
_SLOW_COST: Final = 1e9
# Outdated entries that may stay beyond two for each spot. Few, because most trees have one or two spots.
_LEAST_SWEPT: Final = 2
# The addresses of so many of a source's latest children are known.
_KNOWN_CHILDREN: Final = 4


@dataclass(slots=True)
class Spot:
    """A node in the tree. `entry` is its valid entry among the open ones, 0 for none."""

    place: NodeLocation
    source: Address | None = None
    depth: int = 0
    children: int = 0
    slow_children: int = 0
    """The slow ones of these children: they take little of the source's link."""
    latest: tuple[Address, ...] = ()
    """The children that came last."""
    is_slow: bool = False
    is_last: bool = False
    """The node says itself that it is slow: followed only when there is no other, and as costly as any other."""
    is_whole: bool = False
    gives_stripes: bool = False
    was_striped: bool = False
    """The node got it in stripes, and does not any more."""
    suspected_until: float = 0.0
    places: int = 1
    """How many children cost nothing but their depth."""
    joined_at: float | None = None
    before: Address | None = None
    """The node that had claimed the content just before."""
    number: int = 0
    """How many nodes had claimed the content before."""
    rank: int = 0
    """If two nodes intend to fetch the content, the node with the lower rank does."""
    called_idle_at: float = -math.inf
    """When a node was last told that nobody gets it from here."""
    named: set[Address] = field(default_factory=set)
    """The sources named to the node: only these it may report."""
    entry: int = 0
    is_expected: bool = False
    """The node has not claimed the content yet."""


class FollowerTree:
    """Spots by address, and by what it would cost a newcomer to follow them."""

    def __init__(self, weight: float) -> None:
        """`weight`: what another child costs, counted in nodes further down."""
        self._spots: dict[Address, Spot] = {}
        # Those that have left while others waited for them, or have not come yet, until these have turned elsewhere.
        self._left_behind: dict[Address, Spot] = {}
        self._weight = weight
        # By zone. An entry is (cost, number, address); one that is not its spot's latest is passed over.
        self._open: dict[str, list[tuple[float, int, Address]]] = {}
        self._entries = 0

    @property
    def addresses(self) -> Collection[Address]:
        return self._spots.keys()

    def get(self, address: Address) -> Spot | None:
        return self._spots.get(address)

    def reweigh(self, weight: float) -> None:
        """Another child costs so much from now on."""
        if weight != self._weight:
            self._weight = weight
            self._open.clear()
            for spot in self._spots.values():
                self.offer(spot)

    def plant(self, spot: Spot) -> None:
        """Add a spot. Nodes that still wait for a former spot at the same address are its children."""
        former = self._left_behind.pop(spot.place.address, None)
        if former is not None:
            spot.children, spot.slow_children, spot.latest = former.children, former.slow_children, former.latest
        self._spots[spot.place.address] = spot

    def uproot(self, address: Address) -> None:
        spot = self._spots.pop(address, None)
        if spot is not None:
            self.leave_source(spot)
            if spot.children:
                self._left_behind[address] = spot

    def expect(self, spot: Spot, place: NodeLocation) -> None:
        """Put the spot below a node that has no spot yet. When it is planted, the spot is its child."""
        expected = self._left_behind.setdefault(place.address, Spot(place, is_expected=True))
        _add_child(expected, spot)
        spot.depth = 1
        self.offer(spot)

    def leave_source(self, spot: Spot) -> None:
        address, spot.source = spot.source, None
        if address is None:
            return
        source = self._spots.get(address) or self._left_behind[address]
        source.children -= 1
        source.slow_children -= spot.is_slow
        if address in self._spots:
            self.offer(source)
        elif not source.children:
            del self._left_behind[address]

    def follow(self, spot: Spot, address: Address | None) -> None:
        """Put the spot below this address; None: the spot gets the content from no node of the tree."""
        if address is None:
            spot.depth = 0
        else:
            source = self._spots[address]
            _add_child(source, spot)
            spot.depth = source.depth + 1
            self.offer(source)
        self.offer(spot)

    def slow_down(self, spot: Spot) -> None:
        """Note that the node gets the content much more slowly than its source gives: its place is as good as free."""
        if spot.is_slow:
            return
        spot.is_slow = True
        if spot.source is not None:
            source = self._spots.get(spot.source) or self._left_behind[spot.source]
            source.slow_children += 1
            if spot.source in self._spots:
                self.offer(source)
        self.offer(spot)

    def beside(self, spot: Spot) -> list[Spot]:
        """The latest siblings of a spot, with the same source, without slow ones."""
        source = self._spots.get(spot.source) if spot.source else None
        known = [self._spots.get(address) for address in source.latest] if source else []
        others = [other for other in known if other and other is not spot and not other.is_slow]
        return [other for other in others if other.source == spot.source]

    def offer(self, spot: Spot) -> None:
        """Let newcomers follow the spot, at the present cost."""
        spot.entry = 0
        if spot.children < MOST_CHILDREN:
            self._entries += 1
            spot.entry = self._entries
            heap = self._open.setdefault(spot.place.zone, [])
            heapq.heappush(heap, (self.cost(spot), spot.entry, spot.place.address))
            if len(heap) > 2 * len(self._spots) + _LEAST_SWEPT:
                self._sweep(heap)

    def _sweep(self, heap: list[tuple[float, int, Address]]) -> None:
        """Throw away entries that are not their spots' latest: each time that a node says it has something adds one."""
        heap[:] = [entry for entry in heap if self._is_latest(entry)]
        heapq.heapify(heap)

    def _is_latest(self, entry: tuple[float, int, Address]) -> bool:
        spot = self._spots.get(entry[2])
        return spot is not None and spot.entry == entry[1]

    def cost(self, spot: Spot) -> float:
        children = spot.children - spot.slow_children
        is_last = spot.is_slow or spot.is_last
        return spot.depth + max(0, children + 1 - spot.places) * self._weight + (_SLOW_COST if is_last else 0)

    def cheapest(self, zone: str, is_fit: Callable[[Spot], bool], count: int) -> list[Spot]:
        """At most so many spots of the zone that are fit and cost least."""
        heap = self._open.get(zone, [])
        looked_at = []
        found: list[Spot] = []
        while heap and len(found) < count:
            entry = heapq.heappop(heap)
            spot = self._spots.get(entry[2])
            if spot is None or not self._is_latest(entry):
                continue
            looked_at.append(entry)
            if is_fit(spot):
                found.append(spot)
        for entry in looked_at:
            heapq.heappush(heap, entry)
        if not heap:
            self._open.pop(zone, None)
        return found

    def zones(self) -> list[str]:
        return list(self._open)

    def top_of(self, spot: Spot) -> Spot:
        """The top of the tree above this spot, where its content comes into the tree."""
        *_, top = self.upwards(spot)
        return top

    def upwards(self, spot: Spot) -> Iterator[Spot]:
        """The spot, and all spots above it."""
        above: Spot | None = spot
        for _ in range(len(self._spots) + 1):
            if above is None:
                return
            yield above
            above = self._spots.get(above.source) if above.source else None

    def waits_for_expected(self, spot: Spot) -> bool:
        """Whether the node at the top of the tree above this spot waits for a node that has not come yet."""
        awaited = self._left_behind.get(self.top_of(spot).source or spot.place.address) if self._left_behind else None
        return awaited is not None and awaited.is_expected

    def behind(self, spot: Spot) -> Callable[[Spot], bool]:
        """Whether others get it by way of this spot, and so have less of it, or are the spot itself.

        What is found out about one spot is remembered for those below it: all of them together are looked at once.
        """
        known: dict[Address, bool] = {}

        def is_behind(other: Spot) -> bool:
            if not spot.children:
                return other is spot
            way: list[Address] = []
            found = False
            for above in self.upwards(other):
                if above is spot or above.place.address in known:
                    found = above is spot or known[above.place.address]
                    break
                way.append(above.place.address)
            known.update(dict.fromkeys(way, found))
            return found

        return is_behind


def _add_child(source: Spot, spot: Spot) -> None:
    source.children += 1
    source.slow_children += spot.is_slow
    source.latest = (spot.place.address, *source.latest)[:_KNOWN_CHILDREN]
    spot.source = source.place.address
