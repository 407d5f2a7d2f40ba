"""Nodes of the trees of stripes, and which of them have room for one more."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.transfer.striping import STRIPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from registryd.cluster.contract.index import NodeLocation
    from registryd.notation import Address


@dataclass(slots=True)
class Report:
    """That a node is slow to another one, or failed."""

    latest: float
    count: int = 0


@dataclass(frozen=True, slots=True)
class Late:
    """That a node waits for this source of a stripe: when it is due to get another one, and when it last said so."""

    source: Address
    due: float
    latest: float


@dataclass(slots=True, eq=False, repr=False)
class Spot:
    """A node in all trees."""

    place: NodeLocation
    own: int | None
    """The stripe that it passes on; None: it is not to pass on any."""
    sources: list[Spot | None] = field(default_factory=lambda: [None] * STRIPES)
    """Some of these may have been dropped since."""
    free: list[int] = field(default_factory=lambda: [0] * STRIPES)
    """How many more nodes it can give each stripe to."""
    given: set[int] = field(default_factory=set)
    """The stripes that it has been the source of.

    A node that is dropped and comes again shares them with the spot before, which others may still follow.
    """
    from_top: set[int] = field(default_factory=set)
    """The stripes whose source was a top when it was named."""
    tried_again: dict[int, float] = field(default_factory=dict)
    """The stripes for which a top that only this node reported was named again, and since when."""
    named: set[Address] = field(default_factory=set)
    """The sources named to the node: only these it may report."""
    is_inner: bool = False
    """Whether it has a source for the stripe that it passes on."""
    is_slow: bool = False
    reports: dict[str, Report] = field(default_factory=dict)
    """The hosts of nodes that get something from it and said lately that it is slow: one host may have many ports.

    Of a top: that it failed.
    """
    spare: dict[int, dict[Address, int]] = field(default_factory=dict)
    """By stripe: the nodes that got it from here and had all others, the first at the left, and their places for it."""
    last: frozenset[int] = frozenset()
    """The stripes of which this node has said that it has all others."""
    late: dict[int, Late] = field(default_factory=dict)
    """By stripe: the source that the node says to have waited for."""
    suspected_until: float = 0.0

    def forget_reports(self, *, before: float) -> None:
        """Keep only the reports that are later than that, in seconds of the trees' clock."""
        self.reports = {host: report for host, report in self.reports.items() if report.latest > before}


class Room:
    """Which nodes can give a stripe to more: by zone, and by the stripe whose places they have."""

    def __init__(self, spots: Mapping[Address, Spot]) -> None:
        self._spots = spots
        # Those that came first at the left. A node that is here may have no room any more.
        self._open: defaultdict[tuple[str, int], OrderedDict[Address, None]] = defaultdict(OrderedDict)
        # All that pass a stripe on, in the order in which they came; the next that gets one more than it can.
        self._inner: defaultdict[tuple[str, int], list[Address]] = defaultdict(list)
        self._next: defaultdict[tuple[str, int], int] = defaultdict(int)

    def lead(self, top: Spot) -> None:
        """A node at the top has a place for one node that passes on each stripe."""
        for stripe in range(STRIPES):
            queue = self._open[top.place.zone, stripe]
            queue[top.place.address] = None
            queue.move_to_end(top.place.address, last=False)

    def close(self, spot: Spot) -> None:
        """The node has no room, and is none of those that pass a stripe on."""
        zone, address = spot.place.zone, spot.place.address
        for stripe in range(STRIPES):
            self._open[zone, stripe].pop(address, None)
        if spot.is_inner and spot.own is not None:
            self._inner[zone, spot.own].remove(address)
        spot.is_inner = False

    def add_inner(self, spot: Spot, stripe: int) -> None:
        """The node passes this stripe on from now on."""
        self._inner[spot.place.zone, stripe].append(spot.place.address)
        self._open[spot.place.zone, stripe][spot.place.address] = None

    def give_back(self, source: Spot, slot: int) -> None:
        """A place at that node is free again."""
        source.free[slot] += 1
        address = source.place.address
        if source.free[slot] == 1 and not source.is_slow and self._spots.get(address) is source:
            queue = self._open[source.place.zone, slot]
            queue[address] = None
            queue.move_to_end(address)

    def has_inner(self, stripe: int, zone: str) -> bool:
        return bool(self._inner.get((zone, stripe)))

    def zones(self, stripe: int) -> list[str]:
        """The zones in which nodes pass this stripe on."""
        return sorted({zone for zone, number in self._inner if number == stripe})

    def inner(self) -> Iterable[list[Address]]:
        return self._inner.values()

    def first(
        self, slot: int, zone: str, is_fit: Callable[[Address], bool], *, is_from_left: bool = False
    ) -> Address | None:
        """The first that is fit and has room, from one end; those that have none are forgotten."""
        queue = self._open[zone, slot]
        passed_over = []
        found = None
        while queue and found is None:
            address = next(iter(queue) if is_from_left else reversed(queue))
            other = self._spots.get(address)
            has_room = other is not None and other.free[slot] > 0 and not other.is_slow
            if has_room and is_fit(address):
                found = address
                break
            del queue[address]
            if has_room:
                passed_over.append(address)
        for address in reversed(passed_over):
            queue[address] = None
            queue.move_to_end(address, last=not is_from_left)
        return found

    def one_more(self, stripe: int, zone: str, is_fit: Callable[[Address], bool], *, among: int) -> Address | None:
        """Of so many that pass it on, the one with the fewest children, though it has no room."""
        nodes = self._inner[zone, stripe]
        begin = self._next[zone, stripe]
        self._next[zone, stripe] = begin + among
        some = {nodes[(begin + number) % len(nodes)] for number in range(min(among, len(nodes)))}
        fit = [address for address in some if is_fit(address)]
        return max(fit, key=lambda address: (self._spots[address].free[stripe], str(address)), default=None)
