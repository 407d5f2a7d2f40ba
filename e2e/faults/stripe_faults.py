"""What goes wrong with a member that passes on a stripe, and how it is mended afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from e2e.stripe_stage import LAYER_BYTES, MEGABITS, PATIENCE, NotTogether, become, log_of
from lab.commands import run
from lab.odd_stripes import WRONG
from lab.roles import fetcher_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from lab.cluster import Cluster, Node

# Of those nodes that a removed image is to be missing to while they still receive: a fifth of the others' bandwidth.
_LATE_MEGABITS = MEGABITS / 5
# What a member's disk has room for, besides what it has: less than half of the layer.
_ROOM_BYTES = 10_000_000
# Nobody is told anything of a pull that is given up.
GIVEN_UP: Final = "given up"


@dataclass
class Wave:
    """One pull of all nodes: who goes wrong, and what they pull."""

    cluster: Cluster
    victim: Node
    reference: str
    layer: str
    pulls: dict[str, asyncio.Task[float]] = field(default_factory=dict)
    """By the name of the node's host."""


class Fault:
    """Nothing: the wave without a fault."""

    does: ClassVar[str] = "no fault"
    tries: ClassVar[int] = 1
    fails_with: ClassVar[str] = ""
    """What containerd says when the victim's own pull fails; nothing: it succeeds as well."""

    async def prepare(self, wave: Wave) -> None:
        """Before anybody pulls."""

    async def strike(self, wave: Wave) -> None:
        """While the layer is on its way in stripes. Raises NotTogether when it was too late for that."""

    async def relieve(self, wave: Wave) -> None:
        """When all others have the image, and the victim may still wait."""

    async def mend(self, wave: Wave) -> None:
        """Make it as it was before."""

    def hit(self, wave: Wave) -> Collection[Node]:
        """The nodes that went wrong."""
        return [wave.victim]


class WrongBytes(Fault):
    does = "gives wrong bytes"
    tries = 2

    async def prepare(self, wave: Wave) -> None:
        await become(wave.victim, "wrong")

    async def relieve(self, wave: Wave) -> None:
        if WRONG not in log_of(wave.victim):
            raise NotTogether("it gave no stripe")

    async def mend(self, wave: Wave) -> None:
        await become(wave.victim, "plain")


class StandsStill(Fault):
    does = "its agent stands still (SIGSTOP) until all others have the image"

    async def strike(self, wave: Wave) -> None:
        self._signal(wave, signal.SIGSTOP)

    async def relieve(self, wave: Wave) -> None:
        self._signal(wave, signal.SIGCONT)

    async def mend(self, wave: Wave) -> None:
        self._signal(wave, signal.SIGCONT)

    @staticmethod
    def _signal(wave: Wave, number: signal.Signals) -> None:
        assert wave.victim.agent
        os.kill(wave.victim.agent.process.pid, number)


class Dies(Fault):
    does = "its agent is killed (SIGKILL)"

    async def strike(self, wave: Wave) -> None:
        await asyncio.gather(*(node.agent.kill() for node in self.hit(wave) if node.agent))

    async def mend(self, wave: Wave) -> None:
        await asyncio.gather(*(node.agent.restart() for node in self.hit(wave) if node.agent))


class AllDie(Dies):
    does = "the agents of all members but the one that fetches are killed"

    def __init__(self) -> None:
        self._killed: list[Node] = []

    async def strike(self, wave: Wave) -> None:
        fetcher = fetcher_of(wave.cluster, wave.layer)
        self._killed = [node for node in wave.cluster.nodes if node is not fetcher]
        await super().strike(wave)

    def hit(self, wave: Wave) -> Collection[Node]:
        return self._killed


class GivesUp(Fault):
    does = "its pull is given up, and its containerd throws away what has come"
    fails_with = GIVEN_UP

    async def strike(self, wave: Wave) -> None:
        wave.pulls[wave.victim.host.name].cancel()
        async with asyncio.timeout(PATIENCE):
            while wave.victim.containerd.arrived(wave.layer) >= 0:
                await wave.victim.containerd.collect_garbage()


class LosesImage(Fault):
    does = "has the image first, and it is removed while a node with a fifth of the bandwidth pulls"

    def __init__(self) -> None:
        self._late: Node | None = None

    async def prepare(self, wave: Wave) -> None:
        self._late = next(node for node in reversed(wave.cluster.nodes) if node is not wave.victim)
        await self._late.host.limit(_LATE_MEGABITS)

    async def strike(self, wave: Wave) -> None:
        await wave.pulls[wave.victim.host.name]
        await wave.victim.remove(wave.reference, wave.layer)
        assert self._late
        if not 0 <= self._late.containerd.arrived(wave.layer) < LAYER_BYTES:
            raise NotTogether("the node with less bandwidth had everything, too")

    async def mend(self, wave: Wave) -> None:
        assert self._late
        await self._late.host.limit(MEGABITS)
        if self._late.agent:  # it knows of itself that it is slow
            await self._late.agent.restart()


class DiskIsFull(Fault):
    does = "its containerd's disk is full before it has the layer"
    fails_with = "no space left on device"

    async def prepare(self, wave: Wave) -> None:
        """Move its content to a disk of its own that has little room."""
        content = self._content(wave)
        async with _Away(wave.victim):
            aside = content.with_name("aside")
            content.rename(aside)
            content.mkdir()
            size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()) + _ROOM_BYTES
            await run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(content))
            shutil.copytree(aside, content, dirs_exist_ok=True)

    async def mend(self, wave: Wave) -> None:
        content = self._content(wave)
        async with _Away(wave.victim):
            await run("umount", str(content))
            content.rmdir()
            content.with_name("aside").rename(content)

    @staticmethod
    def _content(wave: Wave) -> Path:
        return wave.victim.containerd.places.root / "io.containerd.content.v1.content"


class _Away:
    """The node's programs are not running meanwhile."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __aenter__(self) -> None:
        assert self._node.agent
        await self._node.agent.stop()
        await self._node.containerd.stop()

    async def __aexit__(self, *_: object) -> None:
        assert self._node.agent
        await self._node.containerd.start()
        await self._node.agent.start()
