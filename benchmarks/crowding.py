"""Sixty-four clients at once that ask for many small blobs, or for pieces of a large one: an agent next to nginx.

No goal: nginx answers small requests with less than Python can. It says how many a node can take.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import Trust, running_agents
from benchmarks.contestants import running_source, start_nginx, write_blob
from benchmarks.figures import Figure
from benchmarks.load import Ranges, Target, compare_rates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.agents import RunningAgent

_MIB: Final = 1024**2
_SMALL: Final = 10 * 1024
_SMALL_COUNT: Final = 1000
_RANGES: Final = Ranges(size=256 * _MIB, length=_MIB)


def measure(*, rounds: int, seconds: float) -> Iterator[Figure]:
    """From the node's own store and, small ones, from a peer."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        large = write_blob(folder, _RANGES.size)
        small = [write_blob(folder, _SMALL) for _ in range(_SMALL_COUNT)]
        source = cleanup.enter_context(running_source(folder, large))
        routes = start_nginx(cleanup, source)
        owner, asker = cleanup.enter_context(running_agents(folder, 2, Trust.TLS))
        owner.add_blobs(*(folder / digest for digest in (large, *small)))

        def pair(agent: RunningAgent, way: str, digests: Sequence[str]) -> tuple[Target, Target]:
            nginx = routes[way]
            theirs = [nginx.url.beside(digest) for digest in digests]
            return Target(agent.server, [agent.blob_url(digest) for digest in digests]), Target(nginx.server, theirs)

        for title, agent, way, digests, ranges in (
            ("10 KB blobs of this node", owner, "local", small, None),
            ("10 KB blobs of a peer, mTLS", asker, "relay-tls", small, None),
            ("1 MiB ranges of this node", owner, "local", [large], _RANGES),
        ):
            ours, nginx = compare_rates(
                *pair(agent, way, digests), paths=folder / "paths", rounds=rounds, seconds=seconds, ranges=ranges
            )
            yield Figure(f"{title}: requests", ours.per_second, "/s", beside=f"{ours}; nginx {nginx}")
            yield Figure(f"{title}: processor", ours.cpu_us / nginx.cpu_us, "of nginx's")
