"""Setting up a node and taking it back: reading, planning and applying put together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from registryd.node.applying import Applying
from registryd.node.change import Kind
from registryd.node.containerd_config import read_config
from registryd.node.disk import Disk
from registryd.node.distribution import Distribution, find_distribution
from registryd.node.errors import ContainerdRefused, PathProblem
from registryd.node.host_root import HostRoot
from registryd.node.lost_record import found_by_mark
from registryd.node.planning import NodeFacts, plan_install
from registryd.node.probing import ContainerdProgram, HostCommands, find_program
from registryd.node.record_store import STATE, RecordStore
from registryd.node.running import has_started_since
from registryd.node.tree import NodeTree
from registryd.node.undoing import plan_uninstall

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.change import Plan
    from registryd.node.intent import Intent
    from registryd.node.record import Record
    from registryd.node.release import Release


@dataclass(frozen=True, slots=True)
class Containerd:
    """Where the node's containerd is not as its distribution has it; None: it is.

    Args:
        config: Its main configuration file.
        program: Its program, which is asked for its version and whether it takes its configuration.
        release: Its version; None: the program is asked.
        restart: The command that restarts it when that is needed; empty: nobody does.
    """

    config: Path | None = None
    program: Path | None = None
    release: Release | None = None
    restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or would be.

    Args:
        was_checked: Whether containerd said that it takes its changed configuration.
        restart_due: Whether it has to be restarted before all of this counts.
        restarted: Whether that was done.
    """

    plan: Plan
    facts: NodeFacts
    was_checked: bool = False
    restart_due: bool = False
    restarted: bool = False


@dataclass(frozen=True)
class NodeSetup:
    """One node, by its file system. Blocks: an agent calls it in a thread. Every method raises NodeError.

    Args:
        state: The folder for the record of what was there, a path of the node.
    """

    root: HostRoot = field(default_factory=HostRoot)
    state: Path = STATE
    containerd: Containerd = field(default_factory=Containerd)
    disk: Disk = field(default_factory=Disk)

    # What would be done

    def preview_install(self, intent: Intent) -> Outcome:
        self._require_config()
        return self._outcome(plan_install(self._tree, self._known(), intent, self._facts))

    def preview_uninstall(self) -> Outcome | None:
        """None: nothing of ours is here."""
        known = self._known()
        return self._outcome(plan_uninstall(self._tree, known)) if known else None

    # Doing it

    def install(self, intent: Intent) -> Outcome:
        """Make the node as wished, or leave it as it is."""
        self.preview_install(intent)  # a node that cannot be set up is not touched, not even for the lock
        with self._records.locked():
            self._applying.sweep(self._records.load())
            return self._carry_out(self.preview_install(intent))

    def uninstall(self) -> Outcome | None:
        """Put back what was there; None: nothing of ours was here."""
        if not self._records.is_there and self.preview_uninstall() is None:
            return None
        with self._records.locked():
            self._applying.sweep(self._records.load())
            outcome = self.preview_uninstall()
            if outcome is None:
                self._records.remove()
            return self._carry_out(outcome) if outcome else None

    def _carry_out(self, outcome: Outcome) -> Outcome:
        restarts = outcome.restart_due and bool(self.containerd.restart)
        plan = _with_restart_due(outcome.plan, due=outcome.restart_due and not restarts)
        checked = []
        try:
            self._applying.apply(plan, check=lambda: checked.append(self._check(plan, restarts=restarts)))
        except ContainerdRefused:
            if restarts:
                self._commands.complaint(self.containerd.restart)
            raise
        due = outcome.restart_due and not restarts
        return replace(outcome, plan=plan, was_checked=any(checked), restart_due=due, restarted=restarts)

    def _check(self, plan: Plan, *, restarts: bool) -> bool:
        """Whether containerd could be asked about its configuration; raises ContainerdRefused."""
        entries = plan.record.entries if plan.record and plan.touches_config else ()
        ours = next((entry.ours for entry in entries if entry.kind is Kind.CONFIG), None)
        was_checked = ours is not None and self._program.require_accepted(self._config, ours)
        if restarts and (problem := self._commands.complaint(self.containerd.restart)):
            raise ContainerdRefused(f"containerd did not restart, so everything was put back: {problem}")
        return was_checked

    def _outcome(self, plan: Plan) -> Outcome:
        return Outcome(plan, self._facts, restart_due=plan.touches_config or self._owes_restart(plan.known))

    def _owes_restart(self, known: Record | None) -> bool:
        """Whether an earlier run changed the configuration, and containerd has not started since."""
        changed = [entry.path for entry in known.entries if entry.kind is Kind.CONFIG] if known else []
        is_owed = known is not None and known.restart_due
        return is_owed and not any(has_started_since(self.root, self._config, path) for path in changed)

    # The node

    def _require_config(self) -> None:
        """Make no file that nobody reads: containerd does not start when the one that it is told of is not there."""
        named = self.containerd.config
        if named and named != self._distribution.config and self._tree.read(named) is None:
            raise PathProblem(f"there is no {named}; --containerd-config is the file that containerd was started with")

    def _known(self) -> Record | None:
        """What we did here: by the record, or by our marks if somebody removed it."""
        return self._records.load() or found_by_mark(self._tree, self._roots)

    @property
    def _roots(self) -> tuple[Path, ...]:
        roots = read_config(self._tree, self._config, self._facts.release).hosts_roots
        return roots or (self._facts.distribution.hosts,)

    @property
    def _config(self) -> Path:
        return self._facts.config

    @cached_property
    def _facts(self) -> NodeFacts:
        distribution = self._distribution
        config = self.containerd.config or distribution.config
        return NodeFacts(distribution, self.containerd.release or self._program.release(), config)

    @cached_property
    def _distribution(self) -> Distribution:
        return find_distribution(self._tree)

    @cached_property
    def _program(self) -> ContainerdProgram:
        own = self.containerd.program
        return find_program(self.root, [own] if own else self._distribution.programs)

    @cached_property
    def _tree(self) -> NodeTree:
        return NodeTree(self.root)

    @cached_property
    def _commands(self) -> HostCommands:
        return HostCommands(self.root)

    @cached_property
    def _records(self) -> RecordStore:
        return RecordStore(self.root, self.disk, self.state)

    @cached_property
    def _applying(self) -> Applying:
        return Applying(self.root, self.disk, self._records)


def _with_restart_due(plan: Plan, *, due: bool) -> Plan:
    return replace(plan, record=replace(plan.record, restart_due=due)) if plan.record else plan
