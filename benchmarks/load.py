"""Many clients at once: requests a second, and what each costs the server, by wrk."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.downloads import Url
    from benchmarks.processes import Server

_CLIENTS: Final = 64
_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and what it is asked for: all URLs are at one address."""

    server: Server
    urls: Sequence[Url]


@dataclass(frozen=True, slots=True)
class Ranges:
    """What is asked for: so many bytes at a random place of so many."""

    size: int
    length: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second, their median and 99th percentile in milliseconds, microseconds of processor time for each."""

    per_second: float
    median_ms: float
    p99_ms: float
    cpu_us: float

    def __str__(self) -> str:
        return f"{self.per_second:.0f}/s at {self.cpu_us:.0f} us, {self.median_ms:.1f} ms (p99 {self.p99_ms:.0f})"


def compare_rates(  # noqa: PLR0913 - all are named
    ours: Target, nginx: Target, *, paths: Path, rounds: int, seconds: float, ranges: Ranges | None = None
) -> tuple[Rate, Rate]:
    """Medians of both, which take turns. `paths` is a file to write the paths to."""
    pairs = [
        (_measure(ours, paths, seconds, ranges), _measure(nginx, paths, seconds, ranges)) for _ in range(rounds + 1)
    ][1:]
    return _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])


def _measure(target: Target, paths: Path, seconds: float, ranges: Ranges | None) -> Rate:
    paths.write_text("".join(f"{url.path}\n" for url in target.urls))
    host, port = target.urls[0].address
    command = [
        "wrk",
        "-t1",
        "--timeout",
        "10s",
        f"-c{_CLIENTS}",
        f"-d{seconds}s",
        "-s",
        str(_SCRIPT),
        f"http://{host}:{port}",
        "--",
    ]
    command += [str(paths), *([] if ranges is None else [str(ranges.size), str(ranges.length)])]
    cpu = target.server.cpu_seconds()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = target.server.cpu_seconds() - cpu
    found = json.loads(output.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"{target.urls[0].text}: {found}")
    return Rate(
        found["requests"] / found["seconds"], found["median_ms"], found["p99_ms"], cpu / found["requests"] * 1e6
    )


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(
        statistics.median(rate.per_second for rate in rates),
        statistics.median(rate.median_ms for rate in rates),
        statistics.median(rate.p99_ms for rate in rates),
        statistics.median(rate.cpu_us for rate in rates),
    )
