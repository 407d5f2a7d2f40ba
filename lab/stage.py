"""Three nodes on this machine for the demo: with real containerds where they can be had, with directories elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, Protocol

from lab.agent import Agent, running_agent
from lab.cluster import Cluster, NodePlan, running_cluster
from lab.commands import require, run
from lab.errors import UnavailableError
from lab.http_pull import pull_over_http
from lab.leftovers import workspace
from lab.versions import system_release

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from lab.images import Image
    from lab.toml_text import Table

NODES: Final = 3
_REPOSITORY: Final = "demo/app"
# Any registry will do: in the directories' demo there is none, which is the point.
_ABSENT_ORIGIN: Final = "origin.demo.invalid"
# 127.0.0.0/8 is all loopback, so that every node can have the fixed ports at an address of its own.
_LOOPBACK: Final = "127.77.0.{}"


class Stage(Protocol):
    """Three agents, and somewhere that a new image comes from."""

    nodes_are: str
    origin_is: str

    @property
    def agents(self) -> Sequence[Agent]:
        """The agents of the first, second and third node."""

    async def publish(self, image: Image) -> str:
        """Let the image come into the world and onto the first node. Returns the reference to pull it by."""

    async def close_origin(self) -> None:
        """Switch off where it came from."""

    async def pull(self, node: int, reference: str) -> None:
        """Pull on the second or third node (1, 2) as its containerd does. Raises LabError when it cannot be had."""


async def lacking_for_containerd() -> str | None:
    """What this machine lacks for real containerds in network namespaces; None when nothing is."""
    try:
        for program, package in (("docker-registry", "docker-registry"), ("ip", "iproute2"), ("nsenter", "util-linux")):
            require(program, package=package)
    except UnavailableError as error:
        return str(error)
    if os.geteuid() != 0:
        return "network namespaces need root"
    if await system_release() is None:
        return "containerd is not installed (apt-get install containerd)"
    return None


@contextlib.asynccontextmanager
async def containerd_stage() -> AsyncIterator[Stage]:
    """Each node a network namespace with a containerd and an agent; the origin is a registry in a fourth.

    Raises UnavailableError where that cannot be had.
    """
    if lacking := await lacking_for_containerd():
        raise UnavailableError(lacking)
    release = await system_release()
    assert release is not None  # noqa: S101 - asked a line above
    async with running_cluster([NodePlan(release)] * NODES) as cluster:
        yield _ContainerdStage(cluster)


@contextlib.asynccontextmanager
async def directory_stage() -> AsyncIterator[Stage]:
    """Each node an agent over a directory, at a loopback address of its own; the origin is an archive."""
    async with contextlib.AsyncExitStack() as stack:
        folder = await stack.enter_async_context(workspace())
        homes = [folder / f"node{number}" for number in range(1, NODES + 1)]
        agents = [
            await stack.enter_async_context(running_agent(_directory_settings(number, home), home))
            for number, home in enumerate(homes, 1)
        ]
        yield _DirectoryStage(agents, homes[0])


class _ContainerdStage:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.agents = [node.agent for node in cluster.nodes if node.agent]
        self.nodes_are = f"{cluster.nodes[0].containerd.release} and an agent, in a network namespace each"
        self.origin_is = "docker-registry, in a fourth"

    async def publish(self, image: Image) -> str:
        reference = await self._cluster.push(image, _REPOSITORY)
        await self.pull(0, reference)
        return reference

    async def close_origin(self) -> None:
        await self._cluster.origin.stop()

    async def pull(self, node: int, reference: str) -> None:
        await self._cluster.nodes[node].pull(reference)


class _DirectoryStage:
    def __init__(self, agents: Sequence[Agent], first_home: Path) -> None:
        self._first_home = first_home
        self._archive: Path | None = None
        self.agents = agents
        self.nodes_are = "an agent over a directory, at a loopback address each"
        self.origin_is = "an OCI archive, imported on the first"

    async def publish(self, image: Image) -> str:
        reference = f"{_ABSENT_ORIGIN}/{_REPOSITORY}:{image.tag}"
        self._archive = await asyncio.to_thread(image.archive)
        config = str(self._first_home / "agent.toml")
        await run(
            sys.executable, "-m", "registryd", "import", str(self._archive), "--name", reference, "--config", config
        )
        return reference

    async def close_origin(self) -> None:
        if self._archive:
            self._archive.unlink()

    async def pull(self, node: int, reference: str) -> None:
        await pull_over_http(self.agents[node], reference)


def _directory_settings(number: int, home: Path) -> Table:
    address = _LOOPBACK.format(number)
    others = [_LOOPBACK.format(other) for other in range(1, NODES + 1) if other != number]
    return {
        "authorization": {"mode": "open"},
        "registry": {"listen": f"{address}:3172"},
        "store": {"kind": "directory", "directory": str(home / "store")},
        "peers": {"listen": f"{address}:3173", "content_listen": f"{address}:3174", "advertise": address},
        "discovery": {"kind": "static", "peers": [f"{other}:3173" for other in others]},
        "admin": {"listen": f"{address}:3175"},
    }
