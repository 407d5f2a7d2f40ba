"""Moving 1 GiB: real agents next to nginx, taking turns; a hit on the node, and relays from a peer.

A relay's peer is in our case an agent, in nginx's an nginx. "Processor" is what the relay itself needs for one GiB.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, running_agents
from benchmarks.contestants import running_source, start_nginx, write_blob
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.sampling import Route, compare, measure_crowd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contestants import Source
    from benchmarks.figures import Goal
    from benchmarks.sampling import Comparison

_MIB: Final = 1024**2
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Way:
    """How the blob comes: which of nginx's paths is next to it, and what is wanted in shares of nginx's."""

    title: str
    nginx: str
    trust: Trust
    throughput: Goal
    processor: Goal | None
    added_mib: Goal


_WAYS: Final = (
    Way("hit on this node", "local", Trust.TLS, at_least(0.75), at_most(1.5), at_most(8)),
    Way("relay, plain and tickets", "relay", Trust.TICKET, at_least(1.5), at_most(0.5), at_most(8)),
    Way("relay, mTLS", "relay-tls", Trust.TLS, at_least(0.85), None, at_most(24)),
)


def measure(*, mib: int, rounds: int) -> Iterator[Figure]:
    """All ways, one after the other: those who are not measured must not take processor time."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        source = cleanup.enter_context(running_source(folder, write_blob(folder, mib * _MIB)))
        nginx = start_nginx(cleanup, source)
        for way in _WAYS:
            with _our_route(way, source) as ours:
                comparison = compare(ours, nginx[way.nginx], size=mib * _MIB, rounds=rounds)
                yield from _compared(way, comparison)
                yield from _crowded(way, ours, mib * _MIB)


@contextmanager
def _our_route(way: Way, source: Source) -> Iterator[Route]:
    home = source.folder / way.nginx
    home.mkdir()
    with running_agents(home, 2, way.trust) as (owner, other):
        owner.add_blobs(source.folder / source.blob)
        asked = owner if way.nginx == "local" else other
        yield Route(asked.server, asked.blob_url(source.blob))


def _compared(way: Way, found: Comparison) -> Iterator[Figure]:
    ours, nginx = found.ours, found.nginx
    yield Figure(
        f"{way.title}: throughput",
        found.throughput_ratio,
        "of nginx's",
        way.throughput,
        f"{ours.throughput:.2f} and {nginx.throughput:.2f} GB/s",
    )
    yield Figure(
        f"{way.title}: processor",
        found.cpu_ratio,
        "of nginx's",
        way.processor,
        f"{ours.cpu:.3f} and {nginx.cpu:.3f} s/GiB",
    )


def _crowded(way: Way, route: Route, size: int) -> Iterator[Figure]:
    crowd = measure_crowd(route, size=size, count=_AT_ONCE)
    yield Figure(f"{way.title}: {_AT_ONCE} at once add memory", crowd.added_mib, "MiB", way.added_mib)
    beside = f"median {crowd.head_median_ms:.2f} ms; {crowd.throughput:.2f} GB/s"
    yield Figure(f"{way.title}: a HEAD beside them, p99", crowd.head_p99_ms, "ms", beside=beside)
