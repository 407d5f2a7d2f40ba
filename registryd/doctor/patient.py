"""What the checks look at: the settings, the node's files, what containerd and the agent say of themselves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.doctor.asking import Unanswered, ask_json
from registryd.node.containerd_config import ContainerdConfig, read_config
from registryd.node.distribution import Distribution, find_distribution
from registryd.node.errors import NodeError, UnsupportedNode
from registryd.node.probing import find_program
from registryd.node.record_store import STATE
from registryd.node.release import Release
from registryd.node.tree import NodeTree
from registryd.store.containerd.survey import Survey, survey
from registryd.store.socket import is_containerd_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.node.host_root import HostRoot
    from registryd.settings import Settings

# An agent looks at two ports of each member and has them look at its own: see cluster.diagnosis.checkup.
_CHECKUP_TIMEOUT = 9.0
# Where Talos has them; there they are Talos' to write, and ours to read.
_TALOS = Distribution("Talos", Path("/etc/cri/containerd.toml"), Path("/etc/cri/conf.d/hosts"), (), generated="Talos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to look: the node's file system, and where its containerd is not as its distribution has it.

    `has_files`: the node's files are there; in a pod they are not unless they are mounted.
    """

    root: HostRoot
    endpoint: str
    has_files: bool = True
    state: Path = STATE
    config: Path | None = None
    program: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Each part is there, or the text that says why it is not."""

    settings: Settings
    place: Place
    tree: NodeTree
    distribution: Distribution
    config: ContainerdConfig | str
    containerd: Survey | str
    status: Mapping[str, Any] | str
    checkup: Mapping[str, Any] | str

    @property
    def hosts_roots(self) -> tuple[Path, ...]:
        """The folders in which this containerd looks for hosts.toml files."""
        if isinstance(self.config, str) or not self.place.has_files:
            return ()
        roots = self.config.hosts_roots
        return roots[:0] if len(roots) > 1 and self.config.ignores_path_lists else roots

    @property
    def members(self) -> list[Mapping[str, Any]]:
        return [] if isinstance(self.checkup, str) else list(self.checkup["members"])


async def look_at(settings: Settings, place: Place) -> Patient:
    """Everything that the checks need, side by side; takes ten seconds at most."""
    async with asyncio.TaskGroup() as group:
        containerd = group.create_task(_containerd(settings), name="ask containerd")
        status = group.create_task(_said(settings, "/status", timeout=3), name="ask for status")
        checkup = group.create_task(_said(settings, "/checkup", timeout=_CHECKUP_TIMEOUT), name="ask for checkup")
    tree = NodeTree(place.root)
    distribution = await asyncio.to_thread(_distribution, tree)
    config = await asyncio.to_thread(_config, tree, place, distribution, containerd.result())
    return Patient(
        settings=settings,
        place=place,
        tree=tree,
        distribution=distribution,
        config=config,
        containerd=containerd.result(),
        status=status.result(),
        checkup=checkup.result(),
    )


async def _containerd(settings: Settings) -> Survey | str:
    socket = settings.store.containerd_socket.absolute()
    is_there = await asyncio.to_thread(is_containerd_at, socket)
    return await survey(socket) if is_there else f"there is no {socket}"


async def _said(settings: Settings, path: str, *, timeout: float) -> Mapping[str, Any] | str:
    try:
        return await ask_json(settings.admin.listen, path, timeout=timeout)
    except Unanswered as error:
        return str(error)


def _distribution(tree: NodeTree) -> Distribution:
    try:
        return find_distribution(tree)
    except UnsupportedNode:
        return _TALOS


def _config(
    tree: NodeTree, place: Place, distribution: Distribution, containerd: Survey | str
) -> ContainerdConfig | str:
    try:
        release = Release() if isinstance(containerd, str) else Release.parse(containerd.version)
        if not release.is_known:
            programs = [place.program] if place.program else distribution.programs
            release = find_program(place.root, programs).release()
        return read_config(tree, place.config or distribution.config, release)
    except NodeError as error:
        return str(error)
