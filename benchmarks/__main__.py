"""All figures with their goals: `python -m benchmarks` (./dev bench), or some parts of them by name.

Prints a table as it measures, and writes benchmarks/results/<part>.json. On a machine that does other things at the
same time ratios are worth more than seconds: what is compared takes turns.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import answering, crowding, memory, moving, pulling, trust
from benchmarks.figures import missed, show
from benchmarks.own_network import own_network
from benchmarks.surroundings import Surroundings
from lab.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figures import Figure

    Part = Callable[[], Iterator[Figure]]

# Each takes a minute or two; sizes are such that they still say something on a busy machine.
_PARTS: Final[dict[str, tuple[str, Part]]] = {
    "memory": ("An idle agent", partial(memory.measure, rounds=2)),
    "moving": ("Moving 1 GiB: an agent next to nginx", partial(moving.measure, mib=1024, rounds=5)),
    "answering": ("Answering: hits at peers and misses, mTLS", partial(answering.measure, count=400)),
    "crowding": ("Sixty-four clients: an agent next to nginx", partial(crowding.measure, rounds=3, seconds=2)),
    "trust": ("What TLS and tickets cost", partial(trust.measure, mib=512, rounds=5, count=200)),
    "pulling": ("Pulls by containerd: a peer next to docker-registry", partial(pulling.measure, rounds=6)),
}
_RESULTS: Final = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(_PARTS)} (default: all)")
    parts = parser.parse_args().parts or list(_PARTS)
    if unknown := set(parts) - set(_PARTS):
        parser.error(f"there is no part {min(unknown)!r}; there are {', '.join(_PARTS)}")
    with own_network() as network:
        print(network)
        figures = [figure for part in parts for figure in _measure(part, network)]
    late = missed(figures)
    print(
        f"\n{len(figures)} figures; goals not reached: {len(late)}", *(f"  {figure.name}" for figure in late), sep="\n"
    )


def _measure(part: str, network: str) -> list[Figure]:
    title, measure = _PARTS[part]
    surroundings, begun = Surroundings.now(network), time.monotonic()
    try:
        figures = show(f"{title}  ({surroundings.load})", measure())
    except UnavailableError as error:
        print(f"  not measured: {error}")
        return []
    _write(part, surroundings, figures)
    print(f"  {time.monotonic() - begun:.0f} s")
    return figures


def _write(part: str, surroundings: Surroundings, figures: list[Figure]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    document = {"surroundings": surroundings.document(), "figures": [figure.document() for figure in figures]}
    (_RESULTS / f"{part}.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
