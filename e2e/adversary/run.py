"""The worst that one member of valid secret does to an agent, while an honest member finds and pulls.

Two nodes with a containerd and an agent each, an origin, and the adversary on a host of its own. The attacks come one
after the other, then all at once; between them nobody attacks. The adversary's processes have low priority and half of
the processors: elsewhere they would be another machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.adversary.attacker import ATTACKS, READY
from e2e.adversary.record import AFTERWARDS, CALM, Find, Phase, Record
from lab.agent import PEERS_PORT
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.errors import PullError
from lab.images import MIB, ImageRecipe, make_image
from lab.layers import LayerRecipe
from lab.leftovers import workspace
from lab.process import Process, running
from lab.versions import ALIVE_SERIES, obtain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.network import Host

_REPOSITORY: Final = "adversary/app"
_CALM_SECONDS: Final = 3.0
_SAMPLE_SECONDS: Final = 0.25
_PULL_PAUSE: Final = 0.5
_PULL_SECONDS: Final = 120.0
_START_SECONDS: Final = 120.0
_RECIPE: Final = ImageRecipe(layers=(LayerRecipe(24 * MIB), LayerRecipe(MIB)))


@dataclass
class Field:
    """Who is there."""

    folder: Path
    cluster: Cluster
    secret: Path
    image: Image
    reference: str
    adversary: Host

    @property
    def victim(self) -> Node:
        return self.cluster.nodes[0]

    @property
    def honest(self) -> Node:
        return self.cluster.nodes[1]

    @property
    def layer(self) -> str:
        return max(self.image.local.layers, key=lambda layer: layer.size).digest


@contextlib.asynccontextmanager
async def _field() -> AsyncIterator[Field]:
    async with workspace() as folder:
        secret = folder / "secret"
        secret.write_text(f"{secrets.token_urlsafe(48)}\n")
        secret.chmod(0o600)
        plan = NodePlan(
            await obtain(ALIVE_SERIES[-1]), agent={"peers": {"insecure": False, "secret_file": str(secret)}}
        )
        async with running_cluster([plan, plan]) as cluster:
            image = make_image(folder / "image", _RECIPE)
            reference = await cluster.push(image, _REPOSITORY)
            await cluster.nodes[0].pull(reference)
            adversary = await cluster.network.add_host("adversary")
            yield Field(folder, cluster, secret, image, reference, adversary)


Assault = tuple[tuple[str, ...], str, float]
"""Which attacks, what that is called, and for how many seconds."""


def _plan(attacks: Sequence[str], seconds: float, *, one_by_one: bool) -> list[Assault]:
    together = (tuple(attacks), "all at once")
    if not one_by_one:
        return [(*together, seconds)]
    if len(attacks) == 1:
        return [((name,), name, seconds) for name in attacks]
    each = seconds / 2 / len(attacks)
    return [*(((name,), name, each) for name in attacks), (*together, seconds / 2)]


async def _is_ready(attacker: Process) -> bool:
    return READY in attacker.log.read_text()


class Siege:
    """One run on a field."""

    def __init__(self, field: Field) -> None:
        self.record = Record()
        self._field = field
        self._phase = Phase(CALM, time.monotonic())

    async def run(self, attacks: Sequence[str], *, seconds: float, one_by_one: bool, afterwards: float) -> None:
        """Each for a part of the first half of the seconds, all of them in the second; or all of them at once only."""
        async with contextlib.AsyncExitStack() as stack:
            finds = await stack.enter_async_context(self._finding())
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._watch_memory()), group.create_task(self._pull_on())]
                await self._attack(_plan(attacks, seconds, one_by_one=one_by_one))
                if afterwards:
                    self._begin(AFTERWARDS)
                    await asyncio.sleep(afterwards)
                others[0].cancel()
                self._is_over = True
            self._end_phase()
        found = [Find.parse(line) for line in finds.log.read_text().splitlines()]
        for phase in self.record.phases:
            phase.take(found)
        self._look_back()

    _is_over = False

    async def _attack(self, plan: Sequence[Assault]) -> None:
        for names, title, length in plan:
            self._begin(CALM)
            await asyncio.sleep(_CALM_SECONDS)
            async with self._attacking(names):
                self._begin(title)
                await asyncio.sleep(length)
                self._begin("between")
        self._begin(CALM)
        await asyncio.sleep(_CALM_SECONDS)

    def _begin(self, name: str) -> None:
        self._end_phase()
        self._phase = Phase(name, time.monotonic())

    def _end_phase(self) -> None:
        self._phase.ended = time.monotonic()
        if self._phase.name != "between":
            self.record.phases.append(self._phase)

    # The adversary

    @contextlib.asynccontextmanager
    async def _attacking(self, names: Iterable[str]) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            attackers = [await stack.enter_async_context(self._attacker(name)) for name in names]
            for attacker in attackers:
                await attacker.wait_ready(partial(_is_ready, attacker), timeout=_START_SECONDS)
            yield

    def _attacker(self, name: str) -> contextlib.AbstractAsyncContextManager[Process]:
        field = self._field
        given = {
            "host": field.victim.host.ipv4,
            "secret": str(field.secret),
            "digest": field.layer,
            "repository": f"{ORIGIN}/{_REPOSITORY}",
            "innocent": field.honest.host.ipv4,
            "own": field.adversary.ipv4,
        }
        options = [word for key, value in given.items() for word in (f"--{key}", value)]
        argv = [*_elsewhere(), sys.executable, "-m", "e2e.adversary.attacker", name, *options]
        log = field.folder / f"{name} {time.monotonic()}.log"
        return running(argv, log=log, namespace=field.adversary.namespace)

    # The honest member, and the agent

    @contextlib.asynccontextmanager
    async def _finding(self) -> AsyncIterator[Process]:
        field = self._field
        given = {
            "address": f"{field.victim.host.ipv4}:{PEERS_PORT}",
            "secret": str(field.secret),
            "digest": field.layer,
            "repository": f"{ORIGIN}/{_REPOSITORY}",
        }
        options = [word for key, value in given.items() for word in (f"--{key}", value)]
        argv = [sys.executable, "-m", "e2e.adversary.honest", *options]
        log = field.folder / "honest.log"
        async with running(argv, log=log, namespace=field.honest.host.namespace) as process:
            yield process

    async def _pull_on(self) -> None:
        node, image = self._field.honest, self._field.image
        while not self._is_over:
            phase, began = self._phase, time.monotonic()
            try:
                await node.pull(self._field.reference, timeout=_PULL_SECONDS)
                phase.pulls.append(time.monotonic() - began)
                await node.remove(self._field.reference, *image.digests)
            except PullError as error:
                phase.failures.append(str(error))
            await asyncio.sleep(_PULL_PAUSE)

    async def _watch_memory(self) -> None:
        agent = self._field.victim.agent
        assert agent
        while True:
            status = agent.process.status_text()
            self._phase.processor.append(_processor_seconds(agent.process.pid))
            self._phase.resident.append(int(status.partition("VmRSS:")[2].split()[0]) * 1024)
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _look_back(self) -> None:
        requests = self._field.cluster.origin.requests()
        layers = len(self._field.image.local.layers) + 1
        self.record.from_origin = sum(1 for access in requests if access.is_blob_transfer) - layers
        agent = self._field.victim.agent
        assert agent
        self.record.tracebacks = agent.process.log.read_bytes().count(b"Traceback")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _elsewhere() -> list[str]:
    count = os.cpu_count() or 1
    return ["nice", "-n", "10", "taskset", "--cpu-list", f"{count // 2}-{count - 1}"]


async def besiege(
    attacks: Sequence[str] = tuple(ATTACKS), *, seconds: float, one_by_one: bool = True, afterwards: float = 0.0
) -> Record:
    """Do these to an agent, for so long in all, watch it for so long `afterwards`, and print what came of it."""
    async with _field() as field:
        siege = Siege(field)
        try:
            await siege.run(attacks, seconds=seconds, one_by_one=one_by_one, afterwards=afterwards)
        finally:
            print(*siege.record.table(), sep="\n", flush=True)
        return siege.record
