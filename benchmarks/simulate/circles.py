"""Searches waves of pulls at random for nodes that wait for each other in circles.

    python -m benchmarks.simulate.circles [--seeds 1000] [--first 0]

Each seed is a cluster of 2 to 10 nodes whose containerds are of any version, with 1 to 8 places, that pull one to three
images of 1 to 40 layers, some of which they share. A circle would show as a wait that a time-out ends, as a pull that
fails, or as more than one copy from the origin. Prints what is found, and the worst of all.
"""

from __future__ import annotations

import argparse
import logging
from random import Random

from .containerd import Behaviour
from .node import FETCH_WAIT
from .scenario import Outcome, Scenario, run

# Layers are as large as these, times what chance gives: a few are most of an image.
LARGEST = 40_000_000
# More than one copy of a layer comes from the origin when a node that cannot wait is told so: a tenth of an image.
MOST_COPIES = 1.1


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


def trouble(outcome: Outcome) -> str:
    """What is wrong with it; empty when nothing is."""
    if outcome.waits_given_up:
        return f"{outcome.waits_given_up} waits were ended by peers.fetch_wait ({FETCH_WAIT:g} s)"
    if outcome.origin_copies > MOST_COPIES:
        return f"{outcome.origin_copies:.2f} copies"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Search for circles of waiting")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    worst, worst_copies, bad = (0.0, -1), (0.0, -1), 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        one = scenario(seed)
        try:
            outcome = run(one)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is searched for
            print(f"seed {seed}: {error!r}: {one}")
            bad += 1
            continue
        if problem := trouble(outcome):
            print(f"seed {seed}: {problem}: {one}", flush=True)
            bad += 1
        worst = max(worst, (outcome.last / (one.size / one.bandwidth), seed))
        worst_copies = max(worst_copies, (outcome.origin_copies, seed))
    print(
        f"{arguments.seeds} seeds, {bad} bad; the slowest took {worst[0]:.2f} times S/B (seed {worst[1]}), "
        f"most copies {worst_copies[0]:.3f} (seed {worst_copies[1]})"
    )


if __name__ == "__main__":
    main()
