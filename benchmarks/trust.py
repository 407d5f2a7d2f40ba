"""What it costs that only members are answered: the same three modes next to each other, taking turns.

The processor time of a relay is shown for both ends: who relays, and the peer that it has the blob from.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, running_agents
from benchmarks.answering import cluster, of_remote_hits
from benchmarks.contestants import write_blob
from benchmarks.downloads import download
from benchmarks.figures import Figure
from benchmarks.latency import of_misses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.agents import RunningAgent

_MIB: Final = 1024**2
_GIB: Final = 1024**3
_SMALL: Final = 10 * 1024
_LARGE: Final = 2 * _MIB


@dataclass(frozen=True, slots=True)
class Relay:
    """GB a second, and processor seconds for one GiB at both ends."""

    throughput: float
    relaying: float
    giving: float


def measure(*, mib: int, rounds: int, count: int) -> Iterator[Figure]:
    """A relay of so many MiB; then questions, one mode after the other."""
    yield from _relays(mib * _MIB, rounds)
    for trust in Trust:
        yield from _questions(trust, count)


def _relays(size: int, rounds: int) -> Iterator[Figure]:
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        blob = folder / write_blob(folder, size)
        pairs = {trust: _pair(cleanup, folder, blob, trust) for trust in Trust}
        turns = [{trust: _relay(*pair, blob, size) for trust, pair in pairs.items()} for _ in range(rounds + 1)][1:]
    plain = _median([turn[Trust.NONE] for turn in turns])
    for trust in Trust:
        found = _median([turn[trust] for turn in turns])
        beside = f"{found.throughput:.2f} GB/s, processor {found.relaying:.2f} + {found.giving:.2f} s/GiB"
        yield Figure(
            f"relay, {trust.value}: throughput", found.throughput / plain.throughput, "of insecure", None, beside
        )


def _pair(cleanup: ExitStack, folder: Path, blob: Path, trust: Trust) -> tuple[RunningAgent, RunningAgent]:
    home = folder / trust.name
    home.mkdir()
    network = list(Trust).index(trust)
    owner, other = cleanup.enter_context(running_agents(home, 2, trust, first=10 * network + 1))
    owner.add_blobs(blob)
    return owner, other


def _relay(owner: RunningAgent, other: RunningAgent, blob: Path, size: int) -> Relay:
    relaying, giving, begun = other.server.cpu_seconds(), owner.server.cpu_seconds(), time.perf_counter()
    download(other.blob_url(blob.name), size=size)
    seconds = time.perf_counter() - begun
    scale = _GIB / size
    return Relay(
        size / seconds / 1e9,
        (other.server.cpu_seconds() - relaying) * scale,
        (owner.server.cpu_seconds() - giving) * scale,
    )


def _median(relays: list[Relay]) -> Relay:
    return Relay(
        statistics.median(relay.throughput for relay in relays),
        statistics.median(relay.relaying for relay in relays),
        statistics.median(relay.giving for relay in relays),
    )


def _questions(trust: Trust, count: int) -> Iterator[Figure]:
    with cluster(4, trust) as agents:
        found = of_misses(agents[0], count=count)
        yield Figure(f"miss, 3 peers, {trust.value}: median", found.median, "ms", None, str(found))
        for size, name in ((_SMALL, "10 KB"), (_LARGE, "2 MiB")):
            found = of_remote_hits(agents, size, count=count)
            yield Figure(f"hit at a peer, {name}, {trust.value}: first byte", found.median, "ms", None, str(found))
