"""Pulls for so many minutes on agents for which an hour lasts a minute: `./dev soak --minutes 60`.

Three nodes, members by a secret, pull and remove one of a few images after the other. Meanwhile everything of theirs
that is periodic comes round sixty times as often (`e2e.hurried.periods`). What they hold at the end is compared with
what they held after the first fifth of the time.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.hurried.periods import FACTOR
from e2e.hurried.tasks import VARIABLE
from lab.cluster import NodePlan, running_cluster
from lab.errors import PullError
from lab.images import MIB, ImageRecipe, local_architecture, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace
from lab.versions import ALIVE_SERIES, obtain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.toml_text import Table

PROGRAM: Final = (sys.executable, "-m", "e2e.hurried", "agent")
MOST_GROWTH: Final = 8 << 20
"""Bytes of resident memory; what Python and malloc keep of one busy moment more or less."""
MOST_MORE_DESCRIPTORS: Final = 16
"""A connection to each of two members by each way, files of a pull that is under way at one look and not at another."""
MOST_MORE_TASKS: Final = 16
"""Those of a pull: three requests, each with a search and what watches it."""
_NODES: Final = 3
_TAGS: Final = ("red", "green", "blue", "white", "black")
_LAYERS: Final = (LayerRecipe(6 * MIB, gzipped=False), LayerRecipe(200 * 1024, gzipped=False))
_PAUSE_SECONDS: Final = 0.5
_SAMPLE_SECONDS: Final = 2.0
_PULL_SECONDS: Final = 120.0
_PARTS: Final = 5
_LINE_LENGTH: Final = 160


@dataclass
class Held:
    """What one agent held, at each look."""

    resident: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def look(self, node: Node) -> None:
        assert node.agent
        process = node.agent.process
        self.resident.append(int(process.status_text().partition("VmRSS:")[2].split()[0]) * 1024)
        self.descriptors.append(sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir()))
        with suppress(FileNotFoundError):  # it has just been started
            self.tasks.append(int(_tasks_file(node).read_text()))

    def counted(self) -> Sequence[tuple[str, list[int], int]]:
        """What is counted, the counts, and how many more there may be."""
        return (
            ("descriptors", self.descriptors, MOST_MORE_DESCRIPTORS),
            ("tasks", self.tasks, MOST_MORE_TASKS),
        )

    def grown(self) -> list[str]:
        """Of what there is too much more in the end, or what was never told."""
        found = []
        for what, values, most in self.counted():
            before, after = self.first_and_last(values)
            if after - before > most:
                found.append(f"{what}: {before:.0f} then {after:.0f}")
        return found

    def first_and_last(self, values: list[int]) -> tuple[float, float]:
        """Medians of the second and of the last fifth; of what was never told, as if it had grown without end."""
        if not values:
            return 0.0, math.inf
        part = max(1, len(values) // _PARTS)
        return statistics.median(values[part : 2 * part] or values), statistics.median(values[-part:])


@dataclass
class Record:
    """What happened."""

    held: list[Held]
    began: float = field(default_factory=time.monotonic)
    pulls: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    log_lines: Counter[str] = field(default_factory=Counter)
    tracebacks: int = 0

    def lines(self) -> list[str]:
        minutes = (time.monotonic() - self.began) / 60
        quantiles = statistics.quantiles(self.pulls, n=20) if len(self.pulls) > 1 else [0.0] * 19
        told = [f"{minutes:.1f} minutes, in which {minutes * FACTOR / 60:.1f} hours of what is periodic passed"]
        told += [f"pulls: {len(self.pulls)}, median {quantiles[9]:.2f} s, 95 of 100 within {quantiles[18]:.2f} s"]
        for number, held in enumerate(self.held, 1):
            before, after = held.first_and_last(held.resident)
            counts = "; ".join(
                f"{what} {before:.0f} then {after:.0f}"
                for what, values, _ in held.counted()
                for before, after in [held.first_and_last(values)]
            )
            resident = f"{before / MIB:.1f} then {after / MIB:.1f} MiB, at most {max(held.resident) / MIB:.1f}"
            told += [f"node {number}: {resident}; {counts}"]
        told += [f"{count} times: {line}" for line, count in self.log_lines.most_common(_PARTS)]
        return told + (self.faults() or ["nothing failed, nothing grew"])

    def faults(self) -> list[str]:
        found = [f"failed: {failure}" for failure in self.failures]
        for number, held in enumerate(self.held, 1):
            before, after = held.first_and_last(held.resident)
            if after - before > MOST_GROWTH:
                found.append(f"the agent of node {number} grew by {(after - before) / MIB:.1f} MiB")
            found += [f"the agent of node {number} has more {fault}" for fault in held.grown()]
        return found + ([f"the agents' logs have {self.tracebacks} tracebacks"] if self.tracebacks else [])


async def soak(*, minutes: float, seed: int) -> Record:
    """Pull for so long, and print what came of it; the record says what failed and what grew."""
    async with workspace() as folder:
        secret = folder / "secret"
        secret.write_text(f"{secrets.token_urlsafe(48)}\n")
        secret.chmod(0o600)
        members: Table = {"insecure": False, "secret_file": str(secret)}
        plan = NodePlan(await obtain(ALIVE_SERIES[-1]), agent={"peers": members, "authorization": {"mode": "public"}})
        async with running_cluster([plan] * _NODES) as cluster:
            made = [make_image(folder / tag, _recipe(tag)) for tag in _TAGS]
            images = {await cluster.push(image, f"hurried/{image.tag}"): image for image in made}
            for node in cluster.nodes:
                await _hurry(node)
            await cluster.wait_acquainted()
            record = Record([Held() for _ in cluster.nodes])
            try:
                async with asyncio.timeout(minutes * 60), asyncio.TaskGroup() as group:
                    for number, node in enumerate(cluster.nodes):
                        group.create_task(_pull_on(node, images, random.Random(seed + number), record))
                    group.create_task(_look_on(cluster, record))
            except TimeoutError:
                pass  # as long as was wanted
            finally:
                _read_logs(cluster, record)
                print(*record.lines(), sep="\n", flush=True)
            return record


def _recipe(tag: str) -> ImageRecipe:
    return ImageRecipe(_LAYERS, (local_architecture(),), tag=tag, seed=tag)


async def _hurry(node: Node) -> None:
    assert node.agent
    # In its settings' folder, which goes with the run.
    node.agent.program = ("env", f"{VARIABLE}={_tasks_file(node)}", *PROGRAM)
    await node.agent.restart()


def _tasks_file(node: Node) -> Path:
    assert node.agent
    return node.agent.folder / "tasks"


async def _pull_on(node: Node, images: dict[str, Image], chance: random.Random, record: Record) -> None:
    while True:
        reference = chance.choice(sorted(images))
        began = time.monotonic()
        try:
            await node.pull(reference, timeout=_PULL_SECONDS)
            record.pulls.append(time.monotonic() - began)
            await node.remove(reference, *images[reference].digests)
        except PullError as error:
            record.failures.append(f"{node.host.name}, {reference}: {error}")
        await asyncio.sleep(_PAUSE_SECONDS)


async def _look_on(cluster: Cluster, record: Record) -> None:
    while True:
        for held, node in zip(record.held, cluster.nodes, strict=True):
            held.look(node)
        await asyncio.sleep(_SAMPLE_SECONDS)


def _read_logs(cluster: Cluster, record: Record) -> None:
    """Count the tracebacks, and the lines that are more than information."""
    for node in cluster.nodes:
        assert node.agent
        text = node.agent.process.log.read_text()
        record.tracebacks += text.count("Traceback")
        for line in text.splitlines():
            if '"level": "warning"' in line or '"level": "error"' in line:
                record.log_lines[line.partition('"message": ')[2][:_LINE_LENGTH]] += 1
