"""Moving a large blob: registryd next to nginx, on loopback, in the same run, taking turns; medians.

`python -m benchmarks.transfer` prints a table and the ratios, and writes them as JSON. What is measured is by
default a bare aiohttp server with registryd's bodies; `--server` names another one, such as an agent: a command with
the placeholders {port}, {folder}, {plain} and {tls} that answers /local/BLOB, /relay/BLOB and /relay-tls/BLOB below
`--prefix`. Throughput is what a client that discards gets; processor time is the server's own, for one GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import make_certificates
from benchmarks.downloads import Url, download, download_at_once, probing
from benchmarks.nginx import reference_command, source_command
from benchmarks.processes import Server, free_port, running, watching_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GIB: Final = 1024**3
_MIB: Final = 1024**2
_BLOB: Final = "blob"
_AT_ONCE: Final = 8
_MINIMAL: Final = (
    f"{sys.executable} -m benchmarks.minimal_server --folder {{folder}} --port {{port}} --plain {{plain}} --tls {{tls}}"
)


@dataclass(frozen=True, slots=True)
class Goal:
    """One way of moving the blob, the least share of nginx's throughput, the largest of its processor time."""

    way: str
    title: str
    throughput: float
    cpu: float | None


GOALS: Final = (
    Goal("local", "local file, plain", 0.75, 1.5),
    Goal("relay", "relay, plain peer leg", 1.5, 0.5),
    Goal("relay-tls", "relay, TLS peer leg", 0.85, None),
)
_ADDED_MIB: Final = {"relay": 8, "relay-tls": 24}


@dataclass(frozen=True, slots=True)
class Sample:
    """One or more downloads by one server: GB a second, processor seconds for one GiB."""

    throughput: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both servers for one goal."""

    goal: Goal
    ours: Sample
    nginx: Sample

    @property
    def throughput_ratio(self) -> float:
        return self.ours.throughput / self.nginx.throughput

    @property
    def cpu_ratio(self) -> float:
        return self.ours.cpu / self.nginx.cpu


@dataclass(frozen=True, slots=True)
class Crowd:
    """Eight downloads at once: MiB that they add to resident memory, and HEAD latencies in ms meanwhile."""

    way: str
    throughput: float
    added_mib: float
    head_median_ms: float
    head_p99_ms: float


@dataclass(frozen=True, slots=True)
class Contestant:
    server: Server
    port: int
    prefix: str = ""

    def url(self, way: str) -> Url:
        return Url(self.port, f"{self.prefix}/{way}/{_BLOB}")


# ---------------------------------------------------------------- measuring


def take_sample(contestant: Contestant, way: str, *, size: int) -> Sample:
    cpu, begun = contestant.server.cpu_seconds(), time.perf_counter()
    download(contestant.url(way), size=size)
    seconds = time.perf_counter() - begun
    return Sample(size / seconds / 1e9, (contestant.server.cpu_seconds() - cpu) / size * _GIB)


def compare(goal: Goal, ours: Contestant, nginx: Contestant, *, size: int, rounds: int) -> Comparison:
    """One uncounted round, then the counted ones, in turns."""
    samples = [[take_sample(who, goal.way, size=size) for who in (ours, nginx)] for _ in range(rounds + 1)][1:]
    return Comparison(goal, *(_median([pair[who] for pair in samples]) for who in (0, 1)))


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        statistics.median(sample.throughput for sample in samples), statistics.median(sample.cpu for sample in samples)
    )


def measure_crowd(ours: Contestant, way: str, *, size: int) -> Crowd:
    with watching_memory(ours.server) as added, probing(ours.url(way)) as latencies:
        begun = time.perf_counter()
        download_at_once(ours.url(way), size=size, count=_AT_ONCE)
        seconds = time.perf_counter() - begun
    milliseconds = sorted(1000 * latency for latency in latencies)
    return Crowd(
        way=way,
        throughput=_AT_ONCE * size / seconds / 1e9,
        added_mib=max(added) / _MIB,
        head_median_ms=statistics.median(milliseconds),
        head_p99_ms=milliseconds[int(len(milliseconds) * 0.99)],
    )


# ---------------------------------------------------------------- the stage


@contextmanager
def stage(command: str, prefix: str, size: int) -> Iterator[tuple[Contestant, Contestant]]:
    """Start the source, the server under test and nginx as its reference; yields the latter two."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        certificates = make_certificates(folder)
        write_blob(folder / _BLOB, size)
        plain, tls, port, reference = (free_port() for _ in range(4))
        cleanup.enter_context(running(source_command(folder, certificates, plain=plain, tls=tls), ports=(plain, tls)))
        nginx = reference_command(folder, certificates, port=reference, plain=plain, tls=tls)
        words = [word.format(folder=folder, port=port, plain=plain, tls=tls) for word in shlex.split(command)]
        yield (
            Contestant(cleanup.enter_context(running(words, ports=(port,))), port, prefix),
            Contestant(cleanup.enter_context(running(nginx, ports=(reference,))), reference),
        )


def write_blob(path: Path, size: int) -> None:
    piece = os.urandom(_MIB)
    with path.open("wb") as blob:
        for _ in range(size // _MIB):
            blob.write(piece)


# ---------------------------------------------------------------- reporting


def report(comparison: Comparison) -> str:
    goal, ours, nginx = comparison.goal, comparison.ours, comparison.nginx
    is_reached = comparison.throughput_ratio >= goal.throughput and comparison.cpu_ratio <= (goal.cpu or 99)
    return (
        f"{goal.title:24} {ours.throughput:6.2f} {nginx.throughput:6.2f} {comparison.throughput_ratio:6.2f}"
        f" (>= {goal.throughput:4.2f})  {ours.cpu:6.3f} {nginx.cpu:6.3f} {comparison.cpu_ratio:6.2f}"
        f" {f'(<= {goal.cpu:3.1f})' if goal.cpu else '        '}  {'reached' if is_reached else 'MISSED'}"
    )


def report_crowd(crowd: Crowd) -> str:
    goal = _ADDED_MIB.get(crowd.way)
    verdict = "" if goal is None else f"(<= {goal})  {'reached' if crowd.added_mib <= goal else 'MISSED'}"
    return (
        f"{crowd.way:24} {crowd.throughput:6.2f} {crowd.head_median_ms:8.2f} {crowd.head_p99_ms:8.2f}"
        f" {crowd.added_mib:8.1f} {verdict}"
    )


def main() -> None:
    options = _parse_options()
    size = options.mib * _MIB
    with stage(options.server, options.prefix, size) as (ours, nginx):
        print(f"{'':24} GB/s: ours  nginx  ratio            CPU s/GiB: ours  nginx  ratio")
        goals = [goal for goal in GOALS if goal.way in options.ways]
        comparisons = []
        for goal in goals:
            comparisons.append(compare(goal, ours, nginx, size=size, rounds=options.rounds))
            print(report(comparisons[-1]), flush=True)
        print(f"\n{f'{_AT_ONCE} at once':24}   GB/s  HEAD ms: p50      p99  added MiB")
        crowds = []
        for goal in goals:
            crowds.append(measure_crowd(ours, goal.way, size=size))
            print(report_crowd(crowds[-1]), flush=True)
    results = {
        "comparisons": [
            asdict(one) | {"throughput_ratio": one.throughput_ratio, "cpu_ratio": one.cpu_ratio} for one in comparisons
        ],
        "crowds": [asdict(crowd) for crowd in crowds],
    }
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=_MINIMAL, help="command of the server to measure")
    parser.add_argument("--prefix", default="", help="what its paths begin with")
    parser.add_argument("--mib", type=int, default=1024, help="size of the blob")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each, of which the medians are taken")
    parser.add_argument("--ways", nargs="+", default=[goal.way for goal in GOALS])
    parser.add_argument("--json", type=Path, default=Path("transfer.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
