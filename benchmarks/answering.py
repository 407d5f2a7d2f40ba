"""How quickly an agent answers through its door, when the answer is with a peer, or with nobody. Members use mTLS.

All agents run on this machine: on two cores ten peers take processor time from the one that asks them, which in a
cluster they do not.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import running_agents
from benchmarks.contestants import write_blob
from benchmarks.figures import Figure, at_most
from benchmarks.latency import of_hits, of_misses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.agents import RunningAgent, Trust
    from benchmarks.figures import Goal
    from benchmarks.latency import Latency

_MIB: Final = 1024**2
# Small content comes whole over the connection that the question used, large by a connection of its own.
_SMALL: Final = 10 * 1024
_LARGE: Final = 2 * _MIB


def measure(*, count: int) -> Iterator[Figure]:
    """Hits among three nodes; misses among eleven, first with ten live peers, then with one that has stopped."""
    with cluster(3) as agents:
        for size, name in ((_SMALL, "10 KB"), (_LARGE, "2 MiB")):
            found = of_remote_hits(agents, size, count=count)
            yield Figure(
                f"hit at one of 3 nodes, {name}: first byte, median", found.median, "ms", at_most(5), str(found)
            )
    with cluster(11) as agents:
        asker, *_, last = agents
        found = of_misses(asker, count=count)
        yield from _misses("miss, 10 live peers", found, p99=at_most(20))
        with last.server.frozen():
            # What the discovery of its silence costs is part of it: no warming up.
            found = of_misses(asker, count=count, warm_up=0)
            yield from _misses("miss, 1 of 10 peers silent", found, p99=at_most(50))


def _misses(title: str, found: Latency, *, p99: Goal) -> Iterator[Figure]:
    yield Figure(f"{title}: added, median", found.median, "ms", at_most(5), str(found))
    yield Figure(f"{title}: added, p99", found.p99, "ms", p99)


@contextmanager
def cluster(count: int, *trust: Trust) -> Iterator[list[RunningAgent]]:
    """So many agents in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, running_agents(Path(folder), count, *trust) as agents:
        yield agents


def of_remote_hits(agents: list[RunningAgent], size: int, *, count: int) -> Latency:
    """The last has it, the first is asked."""
    asker, *_, owner = agents
    made = owner.store.parent / f"made-{size}"
    made.mkdir()
    digest = write_blob(made, size)
    owner.add_blobs(made / digest)
    return of_hits(asker, digest, size=size, count=count)
