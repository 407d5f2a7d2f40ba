"""What an agent that has nothing to do keeps in memory: with each store, with and without a secret."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.agents import NETWORK, Trust, make_secret, running_agent
from benchmarks.entered import entered
from benchmarks.figures import Figure, at_most
from lab.containerd import Containerd, running_containerd
from lab.leftovers import workspace
from lab.versions import any_release

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from lab.toml_text import Table

_MIB: Final = 1024**2
# By then an agent has started all that it starts.
_SETTLED_SECONDS: Final = 2.0


def measure(*, rounds: int) -> Iterator[Figure]:
    """Medians of fresh agents."""
    yield from _figures("directory store", {}, rounds)
    with entered(_containerd()) as (containerd, _):
        socket, root = str(containerd.places.socket), str(containerd.places.root)
        store: Table = {"kind": "containerd", "containerd_socket": socket, "containerd_root": root}
        yield from _figures("containerd store", {"store": store}, rounds)


@asynccontextmanager
async def _containerd() -> AsyncIterator[Containerd]:
    async with workspace() as folder, running_containerd(await any_release(), folder / "node") as containerd:
        yield containerd


def _figures(title: str, changes: Table, rounds: int) -> Iterator[Figure]:
    for trust in (Trust.TLS, Trust.NONE):
        resident = statistics.median(_resident_mib(trust, changes) for _ in range(rounds))
        name = "secret" if trust is Trust.TLS else "no secret"
        yield Figure(f"idle agent, {title}, {name}: resident memory", resident, "MiB", at_most(60))


def _resident_mib(trust: Trust, changes: Table) -> float:
    with tempfile.TemporaryDirectory() as folder:
        settings = {**changes, "peers": trust.settings(make_secret(Path(folder)))}
        with running_agent(Path(folder, "agent"), f"{NETWORK}.1", settings) as agent:
            time.sleep(_SETTLED_SECONDS)
            return agent.server.resident_bytes() / _MIB
