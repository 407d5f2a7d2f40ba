"""Searches waves of pulls at random for nodes that wait for each other in circles.

    python -m benchmarks.simulate.circles [--seeds 1000] [--first 0] [--stripes N]

Each seed is a cluster of 2 to 10 nodes whose containerds are of any version, with 1 to 8 places, that pull one to three
images of 1 to 40 layers, some of which they share. A circle would show as a wait that a time-out ends, as a pull that
fails, or as more than one copy from the origin. Prints what is found, and the worst of all.

With `--stripes N`, each seed is a cluster of N + 1 to N + 8 nodes that pull one or two images of 1 to 8 layers, one or
two of which are large enough for stripes, and come in stripes when N nodes or more want them at once. In a third of the
seeds twice as many nodes begin, slowly at first, and only the later ones get stripes. Each seed runs without stripes
too: with stripes it must neither take many more copies from the origin nor much longer. (What an agent may be set to is
16 and more: with fewer nodes, the node at the top gives most of the stripes to several others.)
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from random import Random
from typing import Final

from registryd.cluster.index.rush import GATHERED_SECONDS, LEAST_BYTES

from .containerd import Behaviour
from .node import FETCH_WAIT
from .scenario import Outcome, Scenario, run

# Layers are as large as these, times what chance gives: a few are most of an image.
LARGEST = 40_000_000
# Of the layers that may come in stripes: so large at least, and one or two of them in each image.
LARGE: Final = LEAST_BYTES + 1_000_000
MOST_LARGE: Final = 2
# More would take minutes for a seed.
MOST_LAYERS: Final = 8
MOST_IMAGES: Final = 2
MORE_NODES: Final = 8
# A third of these waves begin slowly, and come in stripes when some nodes have begun as a whole: so many times as many
# nodes, whose starts quicken with this power within a second.
SLOW_STARTS: Final = 1 / 3
TIMES_AS_MANY: Final = 2
QUICKENING: Final = 3
# More than one copy of a layer comes from the origin when a node that cannot wait is told so: a tenth of an image.
MOST_COPIES = 1.1
# A wave in stripes that stands still until a time-out of ours ends it takes longer than the same wave without stripes
# by ten seconds at least; by chance of who is whose source it takes twice as long.
MUCH_LONGER = 2.0
STANDS_STILL_SECONDS = 10.0


def scenario(seed: int) -> Scenario:
    chance = Random(seed)
    layers = chance.choice([1, 2, 3, 5, 8, 12, 20, 40])
    images = chance.choice([1, 1, 1, 2, 3])
    kinds = chance.choice([(True,), (True,), (True, False), (False,)])
    return Scenario(
        "circles",
        nodes=chance.randint(2, 10),
        sizes=tuple(max(20_000, int(LARGEST * chance.random() ** 3)) for _ in range(layers)),
        images=images,
        shared_layers=chance.randint(0, layers) if images > 1 else 0,
        bandwidth=12_500_000,
        behaviours=tuple(Behaviour(kind, chance.randint(1, 8)) for kind in kinds for _ in range(2)),
        loss=chance.choice([0.0, 0.0, 0.02]),
        start_seconds=chance.choice([0.0, 0.1, 0.1, 1.0]),
        origin_first_byte=chance.choice([0.0, 0.05, 0.5, 2.0]),
        seed=str(seed),
    )


def striped(seed: int, from_nodes: int) -> Scenario:
    """The same kind of waves, of nodes that are enough, with some layers that may come in stripes."""
    chance = Random(f"stripes {seed}")
    one = scenario(seed)
    sizes = list(one.sizes[:MOST_LAYERS])
    for number in chance.sample(range(len(sizes)), chance.randint(1, min(MOST_LARGE, len(sizes)))):
        sizes[number] = chance.randint(LARGE, LARGEST)
    found = replace(
        one,
        nodes=from_nodes + chance.randint(1, MORE_NODES),
        sizes=tuple(sizes),
        images=min(one.images, MOST_IMAGES),
        shared_layers=min(one.shared_layers, len(sizes)),
        start_seconds=min(one.start_seconds, GATHERED_SECONDS / 2),
        stripes_from=from_nodes,
    )
    if chance.random() >= SLOW_STARTS:
        return found
    return replace(found, nodes=TIMES_AS_MANY * found.nodes, start_seconds=1.0, quickening=QUICKENING)


def trouble_in_stripes(outcome: Outcome, whole: Outcome) -> str:
    """What is wrong with it that is not wrong with the same wave without stripes; empty when nothing is."""
    if outcome.waits_given_up > whole.waits_given_up:
        return f"{outcome.waits_given_up} waits were ended by peers.fetch_wait, {whole.waits_given_up} without stripes"
    if outcome.origin_copies > max(MOST_COPIES, whole.origin_copies + MOST_COPIES - 1):
        return f"{outcome.origin_copies:.2f} copies, {whole.origin_copies:.2f} without stripes"
    if outcome.last > MUCH_LONGER * whole.last + STANDS_STILL_SECONDS:
        return f"{outcome.last:.1f} s, {whole.last:.1f} s without stripes"
    return ""


def trouble(outcome: Outcome) -> str:
    """What is wrong with it; empty when nothing is."""
    if outcome.waits_given_up:
        return f"{outcome.waits_given_up} waits were ended by peers.fetch_wait ({FETCH_WAIT:g} s)"
    if outcome.origin_copies > MOST_COPIES:
        return f"{outcome.origin_copies:.2f} copies"
    return ""


class Search:
    """Runs one seed after the other, and keeps the worst."""

    def __init__(self, stripes_from: int) -> None:
        """`stripes_from`: so many nodes get large layers in stripes; 0: none do."""
        self._stripes_from = stripes_from
        self._seeds = self._bad = self._came_in_stripes = 0
        self._worst = self._worst_copies = self._longest = (0.0, -1)

    def look(self, seed: int) -> None:
        """Print what is wrong with it, if anything is."""
        one = striped(seed, self._stripes_from) if self._stripes_from else scenario(seed)
        self._seeds += 1
        try:
            outcome = run(one)
            whole = run(replace(one, stripes_from=0)) if self._stripes_from else outcome
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is searched for
            self._tell(one, repr(error))
            return
        if problem := trouble_in_stripes(outcome, whole) if self._stripes_from else trouble(outcome):
            self._tell(one, problem)
        self._came_in_stripes += outcome.striped > 0
        self._worst = max(self._worst, (outcome.last / (one.size / one.bandwidth), seed))
        self._worst_copies = max(self._worst_copies, (outcome.origin_copies, seed))
        self._longest = max(self._longest, (outcome.last / whole.last, seed))

    def _tell(self, one: Scenario, problem: str) -> None:
        print(f"seed {one.seed}: {problem}: {one}", flush=True)
        self._bad += 1

    def summary(self) -> str:
        told = (
            f"{self._seeds} seeds, {self._bad} bad; the slowest took {self._worst[0]:.2f} times S/B (seed "
            f"{self._worst[1]}), most copies {self._worst_copies[0]:.3f} (seed {self._worst_copies[1]})"
        )
        if not self._stripes_from:
            return told
        return (
            f"{told}; layers came in stripes in {self._came_in_stripes}; the longest, of the same without stripes: "
            f"{self._longest[0]:.2f} (seed {self._longest[1]})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Search for circles of waiting")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--stripes", type=int, default=0, metavar="N", help="large layers come in stripes to N nodes and more"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    search = Search(arguments.stripes)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        search.look(seed)
    print(search.summary())


if __name__ == "__main__":
    main()
