"""Setting up a node and taking it back: reading, planning, applying and asking containerd put together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from registryd.node.applying import Applying
from registryd.node.change import FileKind
from registryd.node.confirming import Confirmation, Confirming
from registryd.node.containerd_config import read_config
from registryd.node.disk import Disk
from registryd.node.distribution import ALL, TALOS
from registryd.node.errors import ConfigConflict, OfAnother, PathProblem, RefusedAfterRestart, UnsupportedNode
from registryd.node.facts import Containerd, ask_containerd, find_facts, require_same_files
from registryd.node.host_commands import HostCommands
from registryd.node.host_root import HostRoot
from registryd.node.judging import reads_other_files, roots_in_use
from registryd.node.planning import plan_install
from registryd.node.record_store import STATE, RecordStore
from registryd.node.strays import with_strays
from registryd.node.tree import NodeTree
from registryd.node.undoing import plan_uninstall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.node.change import ChangePlan
    from registryd.node.facts import Ask, NodeFacts
    from registryd.node.intent import Intent
    from registryd.node.record import InstallRecord, RecordedFile


@dataclass(frozen=True, slots=True)
class SetupOutcome:
    """The changes that were made, or would be, and containerd's answer to them."""

    plan: ChangePlan
    facts: NodeFacts
    confirmation: Confirmation

    @property
    def restart_due(self) -> bool:
        """Whether containerd has to be restarted before all of this counts."""
        return self.confirmation.restart_due


@dataclass(frozen=True)
class NodeSetup:
    """One node, by its file system and its containerd. Blocks: an agent calls it in a thread. Raises NodeError.

    Args:
        state: The folder for the record of what was there, a path of the node.
        owner: For which release of the chart. The set-up of another one is left as it is; empty: whoever made it.
        takes_over: Whether an install makes another release's set-up this one's.
    """

    root: HostRoot = field(default_factory=HostRoot)
    state: Path = STATE
    containerd: Containerd = field(default_factory=Containerd)
    disk: Disk = field(default_factory=Disk)
    ask: Ask = ask_containerd
    owner: str = ""
    takes_over: bool = False

    # What would be done

    def preview_install(self, intent: Intent) -> SetupOutcome:
        if not self.takes_over:
            self._require_own("uninstall that one first; if it is gone, --take-over makes this set-up the one here")
        self._require_config()
        plan = self._owned(plan_install(self._tree, self._known(), intent, self.facts))
        if self.facts.has_no_cri:
            plan = replace(plan, notes=(*plan.notes, _on_no_cri(self.facts)))
        if self.facts.told and not self.facts.process and not self.containerd.config:
            self._require_its_config()
            if plan.touches_config:
                plan = replace(plan, notes=(*plan.notes, _on_guess(self.facts)))
        return SetupOutcome(plan, self.facts, self._confirming.look(plan))

    def preview_uninstall(self) -> SetupOutcome | None:
        """None: nothing of ours is here. Raises OfAnother."""
        self._require_own("nothing was undone")
        known = self._known()
        if known is None:
            return None
        plan = plan_uninstall(self._tree, known)
        plan = replace(plan, notes=(*plan.notes, *self._on_strays(known)))
        facts = self.facts
        if known.config and not (facts.process or self.containerd.config):
            # Nothing that is here now says which file it reads.
            facts = replace(facts, config=known.config)
        return SetupOutcome(plan, facts, self._confirming.look(plan))

    # Doing it

    def install(self, intent: Intent) -> SetupOutcome:
        """Make the node as wished, or leave it as it is."""
        self.preview_install(intent)  # a node that cannot be set up is not touched, not even for the lock
        with self._records.locked():
            self._applying.sweep(self._records.load())
            return self._carry_out(self.preview_install(intent))

    def renew(self, intent: Intent) -> SetupOutcome | None:
        """The same for a node that is set up already; None: the set-up was taken back, and is left alone."""
        if self._records.load() is None:
            return None
        with self._records.locked():
            record = self._records.load()
            if record is None:  # an uninstall that we waited for
                self._records.remove()
                return None
            self._applying.sweep(record)
            return self._carry_out(self.preview_install(intent))

    def uninstall(self) -> SetupOutcome | None:
        """Put back what was there; None: nothing of ours was here. Raises OfAnother."""
        self._require_own("nothing was undone")
        if not self._records.is_there and self.preview_uninstall() is None:
            return None
        with self._records.locked():
            self._applying.sweep(self._records.load())
            outcome = self.preview_uninstall()
            if outcome is None:
                self._records.remove()
            return self._carry_out(outcome) if outcome else None

    def _carry_out(self, outcome: SetupOutcome) -> SetupOutcome:
        plan, confirming = _dated(outcome.plan), self._confirming
        said: list[Confirmation] = []

        def check() -> ChangePlan:
            said.append(confirming.confirm(plan))
            return _with_restart_due(plan, due=said[-1].restart_due)

        try:
            self._applying.apply(plan, check=check)
        except RefusedAfterRestart:
            confirming.restart_again()
            raise
        return replace(outcome, plan=plan, confirmation=said[-1])

    # Whose it is

    def _require_own(self, what_now: str) -> None:
        record = self._records.load()
        if record and record.owner and self.owner and record.owner != self.owner:
            raise OfAnother(
                f"this node is set up for the release {record.owner}, not for {self.owner}: {what_now} "
                f"({self._records.path} says so)"
            )

    def _owned(self, plan: ChangePlan) -> ChangePlan:
        owner = self.owner or (plan.known.owner if plan.known else "")
        return replace(plan, record=replace(plan.record, owner=owner)) if plan.record else plan

    # The node

    @cached_property
    def facts(self) -> NodeFacts:
        """Looked for once."""
        return self._find_facts()

    def _find_facts(self) -> NodeFacts:
        recorded = self._records.load()
        return find_facts(self.root, self.containerd, self.ask, recorded=recorded.socket if recorded else None)

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        return roots_in_use(self.root, self._tree, self.facts)

    def _require_config(self) -> None:
        """Refuse a file that containerd would not read: without the file that it is told of, it does not start."""
        if self.facts.distribution == TALOS:
            raise UnsupportedNode(
                "this is Talos, whose files are read-only: use `registryd talos`, which prints documents"
            )
        require_same_files(self.root, self.facts)
        named, usual = self.containerd.config, {each.config for each in ALL}
        if named and named not in usual and self._tree.read(named) is None:
            raise PathProblem(f"there is no {named}; --containerd-config is the file that containerd was started with")

    def _require_its_config(self) -> None:
        """Require the right main file where the path is a guess: containerd may show that it reads another one."""
        facts = self.facts
        config = read_config(self._tree, facts.config, facts.release, drop_ins=facts.distribution.drop_ins)
        if facts.told and reads_other_files(self.root, facts, config):
            raise ConfigConflict(
                f"containerd looks for hosts.toml files in {facts.told.config_path or 'no folder'}, which is not of "
                f"{facts.config}: name the file that it was started with (--containerd-config), or restart it if its "
                "files have changed"
            )

    def _known(self) -> InstallRecord | None:
        """The changes that registryd made on this node, by the record and by registryd's marks."""
        return with_strays(self._tree, self._records.load(), self.facts, self._roots)

    def _on_strays(self, known: InstallRecord) -> Iterator[str]:
        recorded = self._records.load()
        paths = {entry.path for entry in recorded.entries} if recorded else set()
        for entry in known.entries:
            if entry.path not in paths:
                unset = " What it was before us is not known: it is not set now." if _is_unset(entry) else ""
                yield f"{entry.path} has our mark and is in no record: what is ours in it goes.{unset}"

    @cached_property
    def _confirming(self) -> Confirming:
        commands = HostCommands(self.root)
        return Confirming(self._tree, self.facts, commands, self._find_facts, self.ask, self.containerd.restart)

    @cached_property
    def _tree(self) -> NodeTree:
        return NodeTree(self.root)

    @cached_property
    def _records(self) -> RecordStore:
        return RecordStore(self.root, self.disk, self.state)

    @cached_property
    def _applying(self) -> Applying:
        return Applying(self.root, self.disk, self._records)


def _is_unset(entry: RecordedFile) -> bool:
    return entry.kind is FileKind.CONFIG and entry.before is None


def _on_no_cri(facts: NodeFacts) -> str:
    return f"the containerd at {facts.socket} runs without its CRI plugin (disabled_plugins): no kubelet can pull by it"


def _on_guess(facts: NodeFacts) -> str:
    return (
        f"with which file containerd was started cannot be seen from here: {facts.config} is the usual one, "
        "--containerd-config names another"
    )


def _dated(plan: ChangePlan) -> ChangePlan:
    """The plan with the time of the change in its record. After a crash, the restart counts as due."""
    if not (plan.record and plan.touches_config):
        return plan
    return replace(plan, record=replace(plan.record, restart_due=True, changed_at=time.time()))


def _with_restart_due(plan: ChangePlan, *, due: bool) -> ChangePlan:
    return replace(plan, record=replace(plan.record, restart_due=due)) if plan.record else plan
