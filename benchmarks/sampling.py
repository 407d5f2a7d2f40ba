"""Samples of downloads: throughput as the client sees it, processor time and memory as the server's kernel counts."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.downloads import Url, download, download_at_once, probing
from benchmarks.processes import Server, watching_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

_GIB: Final = 1024**3
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Route:
    """A URL, and the server whose cost is counted when it is downloaded."""

    server: Server
    url: Url


@dataclass(frozen=True, slots=True)
class Sample:
    """One download, or the medians of several: GB a second, processor seconds for one GiB."""

    throughput: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both servers, and ours as shares of nginx's."""

    ours: Sample
    nginx: Sample
    throughput_ratio: float
    cpu_ratio: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Several downloads at once: GB a second of all, MiB added to resident memory, milliseconds of HEADs meanwhile."""

    throughput: float
    added_mib: float
    head_median_ms: float
    head_p99_ms: float


def compare(ours: Route, nginx: Route, *, size: int, rounds: int) -> Comparison:
    """One round that does not count, then those that do; both take turns."""
    pairs = [(_sample(ours, size), _sample(nginx, size)) for _ in range(rounds + 1)][1:]
    ours_median, nginx_median = _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])
    return Comparison(
        ours_median,
        nginx_median,
        throughput_ratio=ours_median.throughput / nginx_median.throughput,
        cpu_ratio=ours_median.cpu / nginx_median.cpu,
    )


def measure_crowd(route: Route, *, size: int, count: int) -> Crowd:
    """So many downloads at once, and a HEAD every few milliseconds meanwhile."""
    with watching_memory(route.server) as added, probing(route.url) as latencies:
        begun = time.perf_counter()
        download_at_once(route.url, size=size, count=count)
        seconds = time.perf_counter() - begun
    milliseconds = sorted(1000 * latency for latency in latencies)
    return Crowd(
        throughput=count * size / seconds / 1e9,
        added_mib=max(added) / _MIB,
        head_median_ms=statistics.median(milliseconds),
        head_p99_ms=milliseconds[int(len(milliseconds) * 0.99)],
    )


def _sample(route: Route, size: int) -> Sample:
    cpu, begun = route.server.cpu_seconds(), time.perf_counter()
    download(route.url, size=size)
    seconds = time.perf_counter() - begun
    return Sample(size / seconds / 1e9, (route.server.cpu_seconds() - cpu) / size * _GIB)


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        statistics.median(sample.throughput for sample in samples), statistics.median(sample.cpu for sample in samples)
    )
