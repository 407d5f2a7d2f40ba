"""The objects of the checks: the settings, the node's files, the answers of containerd and of the agent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registryd.doctor.asking import Unanswered, ask_json
from registryd.doctor.occupancy import occupancy_of
from registryd.node.containerd_config import read_config, roots_of
from registryd.node.disk import Disk
from registryd.node.errors import NodeError
from registryd.node.facts import Containerd, find_facts, require_same_files
from registryd.node.judging import Judgement, judge
from registryd.node.record_store import STATE, RecordStore
from registryd.node.release import Release
from registryd.node.tree import NodeTree
from registryd.store.containerd.survey import survey
from registryd.store.socket import is_containerd_at, socket_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from registryd.config.agent import Settings
    from registryd.doctor.occupancy import Occupancy
    from registryd.node.containerd_config import ContainerdConfig
    from registryd.node.facts import NodeFacts
    from registryd.node.host_root import HostRoot
    from registryd.store.containerd.survey import Survey

# An agent looks at two ports of each member and has them look at its own: see cluster.diagnosis.checkup.
_CHECKUP_TIMEOUT = 9.0
# For containerd's program, which is asked twice at most; it needs a tenth of a second.
_PROGRAM_PATIENCE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminationScope:
    """Where to look: the node's file system, and where its containerd is not where it is found.

    `has_files`: the node's files are there; in a pod they are not unless they are mounted. Paths are the node's.
    """

    root: HostRoot
    endpoint: str
    has_files: bool = True
    state: Path = STATE
    config: Path | None = None
    program: Path | None = None
    socket: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Each part is there, or the text that says why it is not."""

    settings: Settings
    place: ExaminationScope
    tree: NodeTree
    facts: NodeFacts | str
    config: ContainerdConfig | str
    judgement: Judgement | str
    containerd: Survey | str
    status: Mapping[str, Any] | str
    checkup: Mapping[str, Any] | str
    port: Occupancy

    @property
    def has_no_containerd(self) -> bool:
        """No containerd answers and none is seen to run: with which file it will be started is not known."""
        is_seen = not isinstance(self.facts, str) and self.facts.process is not None
        return isinstance(self.containerd, str) and not is_seen

    @property
    def socket(self) -> Path:
        """Where its containerd answers, as a path of this process."""
        if isinstance(self.facts, str):
            return socket_of(self.settings.store)
        return self.place.root.locate(self.facts.socket)

    @property
    def release(self) -> Release:
        return Release() if isinstance(self.facts, str) else self.facts.release

    @property
    def counts_after_a_restart(self) -> bool:
        """Whether what is known of the configuration is that of the next start, and not what counts now."""
        judgement = self.judgement
        return not isinstance(judgement, str) and judgement.is_outdated and judgement.uses is None

    @property
    def config_path(self) -> str:
        """Where containerd looks for hosts.toml files, by its own word if there is one; empty: nowhere."""
        if not isinstance(self.judgement, str) and self.judgement.config_path is not None:
            return self.judgement.config_path
        if isinstance(self.config, str) or not self.place.has_files:
            return ""
        return self.config.config_path

    @property
    def ignores_path_lists(self) -> bool:
        """Whether this containerd takes a list in config_path for nothing."""
        if isinstance(self.facts, str) or isinstance(self.config, str):
            return True
        dumped = None if isinstance(self.judgement, str) else self.judgement.images
        return self.facts.release.ignores_path_lists and not (dumped or self.config.images).pulls_locally

    @property
    def has_ignored_list(self) -> bool:
        """One path with a colon after it is a list as well."""
        return ":" in self.config_path and self.ignores_path_lists

    @property
    def hosts_roots(self) -> tuple[Path, ...]:
        """The folders in which this containerd looks for hosts.toml files, as far as they can be seen from here."""
        roots = () if self.has_ignored_list else roots_of(self.config_path)
        return roots if self.place.has_files else tuple(root for root in roots if self.tree.is_folder(root))

    @property
    def members(self) -> list[Mapping[str, Any]]:
        return [] if isinstance(self.checkup, str) else list(self.checkup["members"])


async def look_at(settings: Settings, place: ExaminationScope) -> Patient:
    """Everything that the checks need, side by side; takes ten seconds at most."""
    async with asyncio.TaskGroup() as group:
        node = group.create_task(asyncio.to_thread(_node, place), name="look at the node")
        status = group.create_task(_said(settings, "/status", timeout=3), name="ask for status")
        checkup = group.create_task(_said(settings, "/checkup", timeout=_CHECKUP_TIMEOUT), name="ask for checkup")
        port = group.create_task(asyncio.to_thread(occupancy_of, settings.registry.listen), name="look at the port")
        facts, config, judgement = await node
        containerd = group.create_task(_containerd(settings, place, facts), name="ask containerd")
    return Patient(
        settings=settings,
        place=place,
        tree=NodeTree(place.root),
        facts=facts,
        config=config,
        judgement=judgement,
        containerd=containerd.result(),
        status=status.result(),
        checkup=checkup.result(),
        port=port.result(),
    )


async def _containerd(settings: Settings, place: ExaminationScope, facts: NodeFacts | str) -> Survey | str:
    socket = socket_of(settings.store) if isinstance(facts, str) else place.root.locate(facts.socket)
    is_there = await asyncio.to_thread(is_containerd_at, socket)
    return await survey(socket.absolute()) if is_there else f"there is no {socket}"


async def _said(settings: Settings, path: str, *, timeout: float) -> Mapping[str, Any] | str:
    try:
        return await ask_json(settings.admin.listen, path, timeout=timeout)
    except Unanswered as error:
        return str(error)


def _node(place: ExaminationScope) -> tuple[NodeFacts | str, ContainerdConfig | str, Judgement | str]:
    hints = Containerd(config=place.config, program=place.program, socket=place.socket)
    try:
        facts = find_facts(place.root, hints, recorded=_recorded_socket(place), patience=_PROGRAM_PATIENCE)
        if place.has_files:
            require_same_files(place.root, facts)
    except NodeError as error:
        return str(error), str(error), str(error)
    try:
        config = read_config(NodeTree(place.root), facts.config, facts.release, drop_ins=facts.distribution.drop_ins)
    except NodeError as error:
        return facts, str(error), str(error)
    if not place.has_files:
        uses = facts.told.config_path if facts.told else None
        return facts, config, Judgement(uses, None, None, is_outdated=False)
    try:
        return facts, config, judge(place.root, facts, config)
    except NodeError as error:
        return facts, config, str(error)


def _recorded_socket(place: ExaminationScope) -> Path | None:
    try:
        record = RecordStore(place.root, Disk(), place.state).load()
    except NodeError:
        return None  # the finding of check_record
    return record.socket if record else None
