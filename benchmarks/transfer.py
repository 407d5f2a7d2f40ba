"""Moving a large blob: registryd next to nginx, on loopback, in the same run, taking turns; medians.

`python -m benchmarks.transfer` prints a table with the ratios, and writes it as JSON. Throughput is what a client
gets that throws everything away (see benchmarks/downloads.py); processor time is the server's own, for one GiB.

What is measured is by default a bare aiohttp server with registryd's bodies: what they cost without an agent around
them (`python -m benchmarks moving` measures agents). --server measures another server, as a command with the
placeholders {port}, {folder}, {plain} and {tls} (see benchmarks/minimal_server.py for what it has to answer).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.contestants import MINIMAL, running_source, start_command, start_nginx, write_blob
from benchmarks.sampling import compare, measure_crowd

if TYPE_CHECKING:
    from benchmarks.contestants import Routes
    from benchmarks.sampling import Comparison, Crowd

_MIB: Final = 1024**2
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Goal:
    """One way of moving the blob, and what is wanted: the least share of nginx's throughput, the largest of its
    processor time, the most MiB that eight downloads at once may add.
    """

    way: str
    title: str
    throughput: float
    cpu: float | None = None
    added_mib: float | None = None


GOALS: Final = (
    Goal("local", "local file", throughput=0.75, cpu=1.5),
    Goal("relay", "relay, plain source", throughput=1.5, cpu=0.5, added_mib=8),
    Goal("relay-tls", "relay, TLS source", throughput=0.85, added_mib=24),
)


# ---------------------------------------------------------------- the table


def comparison_head(rounds: int) -> str:
    throughput, cpu = f"{'GB/s ours':>10}{'nginx':>8}{'ratio':>16}", f"{'CPU s/GiB ours':>18}{'nginx':>8}{'ratio':>16}"
    return f"{f'medians of {rounds}':20}{throughput}{cpu}"


def comparison_row(goal: Goal, found: Comparison) -> str:
    return (
        f"{goal.title:20}{found.ours.throughput:10.2f}{found.nginx.throughput:8.2f}"
        f"{_verdict(found.throughput_ratio, at_least=goal.throughput):>16}"
        f"{found.ours.cpu:18.3f}{found.nginx.cpu:8.3f}{_verdict(found.cpu_ratio, at_most=goal.cpu):>16}"
    )


def crowd_head() -> str:
    return f"{f'{_AT_ONCE} at once':20}{'GB/s ours':>10}{'HEAD ms p50':>14}{'p99':>8}{'added MiB':>20}"


def crowd_row(goal: Goal, found: Crowd) -> str:
    return (
        f"{goal.title:20}{found.throughput:10.2f}{found.head_median_ms:14.2f}{found.head_p99_ms:8.2f}"
        f"{_verdict(found.added_mib, at_most=goal.added_mib):>20}"
    )


def _verdict(value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    if at_least is not None:
        return f"{value:.2f} {'>=' if value >= at_least else 'NOT >='} {at_least:g}"
    if at_most is not None:
        return f"{value:.2f} {'<=' if value <= at_most else 'NOT <='} {at_most:g}"
    return f"{value:.2f}"


# ---------------------------------------------------------------- the run


def measure(ours: Routes, nginx: Routes, options: argparse.Namespace) -> dict[str, object]:
    """Every goal that there is a route for, printed as it is found."""
    size = options.mib * _MIB
    goals = [goal for goal in GOALS if goal.way in ours and goal.way in options.ways]
    results: dict[str, object] = {}
    print(comparison_head(options.rounds))
    for goal in goals:
        comparison = compare(ours[goal.way], nginx[goal.way], size=size, rounds=options.rounds)
        print(comparison_row(goal, comparison), flush=True)
        results[goal.way] = asdict(goal) | asdict(comparison)
    print(f"\n{crowd_head()}")
    for goal in goals:
        crowd = measure_crowd(ours[goal.way], size=size, count=_AT_ONCE)
        print(crowd_row(goal, crowd), flush=True)
        results[f"{goal.way}, {_AT_ONCE} at once"] = asdict(goal) | asdict(crowd)
    return results


def main() -> None:
    options = _parse_options()
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        source = cleanup.enter_context(running_source(folder, write_blob(folder, options.mib * _MIB)))
        ours = start_command(cleanup, source, options.server)
        results = measure(ours, start_nginx(cleanup, source), options)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=MINIMAL, help="measure the server that this command starts")
    parser.add_argument("--mib", type=int, default=1024, help="size of the blob")
    parser.add_argument("--rounds", type=int, default=7, help="downloads of each, of which the medians are taken")
    parser.add_argument("--ways", nargs="+", default=[goal.way for goal in GOALS], help="what to measure")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path(__file__).parent / "results" / "transfer.json",
        help="where to write the results",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
