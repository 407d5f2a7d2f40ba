"""The real locator, index, claims and choice of sources, over a network and a clock that are simulated.

    python -m benchmarks.simulate [--nodes 10 100 1000 5000] [--megabytes 100] [--only NAME] [--plot docs/scale.svg]

Prints a table in Markdown. A node that gets 100 MiB takes some 0.1 s of processor time, in stripes, and 0.2 s where
thousands share the processor's cache.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from .containerd import Behaviour
from .plot import draw
from .scenario import Outcome, Scenario, run

MEGABIT = 125_000
SMALL = 100  # nodes: a chain
# Layers of an image as a language runtime with an application has, in bytes (as benchmarks.rollout --app).
APPLICATION = tuple(int(megabytes * 1_000_000) for megabytes in (29, 3.5, 13, 5, 38, 8, 2, *[0.02] * 5))


def scenarios(sizes: list[int], megabytes: int = 100) -> list[Scenario]:
    base = [Scenario("all at once", nodes, megabytes) for nodes in sizes]
    largest = replace(base[-1])
    small = [one for one in base if one.nodes == SMALL]
    return [
        *base,
        *[replace(one, name="one layer", layers=1) for one in base],
        *[
            replace(largest, name=f"starts spread over {seconds:g} s", start_seconds=seconds, layers=layers)
            for seconds in (2.0, 10.0)
            for layers in (4, 1)
        ],
        *[
            replace(largest, name="starts quicken over 2 s", start_seconds=2.0, quickening=3, layers=layers)
            for layers in (4, 1)
        ],
        replace(largest, name="1 % churn a minute", churn_per_minute=0.01),
        replace(largest, name="5 % slow nodes", slow_share=0.05),
        replace(largest, name="5 % slow nodes", slow_share=0.05, layers=1),
        *[replace(one, name="slow top", is_first_slow=True) for one in small],
        *[replace(one, name="slow top", is_first_slow=True, layers=1) for one in small],
        replace(largest, name="5 % slow uplinks", slow_share=0.05, only_uplinks=True),
        replace(largest, name="5 % slow uplinks", slow_share=0.05, only_uplinks=True, layers=1),
        *[replace(one, name="slow uplink at the top", is_first_slow=True, only_uplinks=True) for one in small],
        *[
            replace(one, name="slow uplink at the top", is_first_slow=True, only_uplinks=True, layers=1)
            for one in small
        ],
        *[replace(one, name="5 % slow nodes, next image", slow_share=0.05, is_second=True) for one in small],
        *[replace(one, name="slow top, next image", is_first_slow=True, is_second=True) for one in small],
        *[replace(one, name="slow top, next image", is_first_slow=True, is_second=True, layers=1) for one in small],
        *[
            replace(one, name="5 % slow uplinks, next image", slow_share=0.05, only_uplinks=True, is_second=True)
            for one in small
        ],
        replace(largest, name="slow origin", origin_bandwidth=20 * MEGABIT),
        replace(largest, name="2 % of messages late", loss=0.02),
        replace(largest, name="two zones, thin link", zones=2, zone_bandwidth=50 * MEGABIT),
        Scenario(
            "twelve layers, 25 Mbit/s",
            nodes=6,
            layers=len(APPLICATION),
            sizes=APPLICATION,
            bandwidth=25 * MEGABIT,
            behaviours=(Behaviour(lines_up=True),),
        ),
    ]


HEADER = (
    "| scenario | nodes | layers | last, times S/B | of the limit | median | own time, 99 % "
    "| origin copies | received by a node / S (most) | messages per lookup | announcements per node "
    "| control KB per node |"
)


def row(outcome: Outcome) -> str:
    scenario = outcome.scenario
    unit = scenario.size / scenario.bandwidth
    last = outcome.last_fast
    cells = [
        scenario.name,
        scenario.nodes,
        scenario.layers,
        f"{last / unit:.2f}",
        f"{last / scenario.limit:.2f}",
        f"{outcome.median / unit:.2f}",
        f"{outcome.own / unit:.2f}",
        f"{outcome.origin_copies:.3f}",
        f"{outcome.received:.3f} ({outcome.most_received:.3f})",
        f"{outcome.messages_per_lookup:.2f}",
        f"{outcome.announcements_per_node:.0f}",
        f"{outcome.bytes_per_node / 1000:.1f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated waves of pulls")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000, 5000])
    parser.add_argument("--megabytes", type=int, default=100, help="MiB of the image: fewer take less time")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--plot", type=Path, help="where to draw the waves without trouble")
    arguments = parser.parse_args()
    outcomes = []
    print(HEADER)
    print("|" + " --- |" * HEADER.count(" | ") + " --- |")
    for scenario in scenarios(arguments.nodes, arguments.megabytes):
        if arguments.only in scenario.name:
            begun = time.monotonic()
            outcomes.append(run(scenario))
            print(row(outcomes[-1]), f"<!-- {time.monotonic() - begun:.0f} s -->", flush=True)
    if arguments.plot:
        arguments.plot.write_text(picture(outcomes))


def picture(outcomes: list[Outcome]) -> str:
    lines: dict[str, list[tuple[int, float]]] = {"four layers": [], "one layer": [], "limit": []}
    for outcome in outcomes:
        unit = outcome.scenario.size / outcome.scenario.bandwidth
        name = {"all at once": "four layers", "one layer": "one layer"}.get(outcome.scenario.name)
        if name:
            lines[name].append((outcome.scenario.nodes, outcome.last / unit))
        if name == "four layers":
            lines["limit"].append((outcome.scenario.nodes, outcome.scenario.limit / unit))
    return draw(lines)


if __name__ == "__main__":
    main()
