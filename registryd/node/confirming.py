"""After a change: whether containerd looks where it shall. Ask it, restart it if wished, and ask it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.node.containerd_config import read_config
from registryd.node.errors import ContainerdRefused, NodeError, RefusedAfterRestart
from registryd.node.judging import Judgement, judge
from registryd.node.starting import has_started_since, wait_started_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from registryd.node.change import ChangePlan
    from registryd.node.facts import Ask, NodeFacts
    from registryd.node.host_commands import HostCommands
    from registryd.node.tree import NodeFiles

# A restarted containerd answers within a second; a node that is full of containers takes longer.
_RESTART_PATIENCE = 20.0
_NO_CRI = ". Its CRI plugin, which reads that setting, is switched off (disabled_plugins)"
_UNKNOWN = Judgement(None, None, None, is_outdated=False)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """containerd's answer after a change.

    Args:
        judgement: Its word on where it looks; all of it None where nobody could be asked, or nothing is there to ask.
        restart_due: Whether it has to be restarted before all counts.
        restarted: Whether that was done.
    """

    judgement: Judgement
    restart_due: bool = False
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Confirming:
    """Asks the containerd of one node.

    Args:
        find: Looks at the node again, after a restart.
        restart: The command for that; empty: nobody restarts it.
    """

    tree: NodeFiles
    facts: NodeFacts
    commands: HostCommands
    find: Callable[[], NodeFacts]
    ask: Ask
    restart: tuple[str, ...] = ()

    def look(self, plan: ChangePlan) -> Confirmation:
        """The answer of containerd now, before the plan or after it."""
        judgement = self._judge(self.facts, plan) if plan.record else _UNKNOWN
        is_elsewhere = bool(plan.config_path) and judgement.uses not in (None, plan.config_path)
        is_due = plan.touches_config or judgement.is_outdated or is_elsewhere or self._is_owed(plan, judgement)
        return Confirmation(judgement, restart_due=is_due and self._may_need_one(plan))

    def confirm(self, plan: ChangePlan) -> Confirmation:
        """The same after the plan was carried out.

        Raises ContainerdRefused, or RefusedAfterRestart, when it looks, or would look, elsewhere.
        """
        found = self.look(plan)
        if not self._is_made_of_drop_ins:
            self._require(found.judgement.takes, plan)
        if not (found.restart_due and self.restart):
            return found
        try:
            self._restart()
            return Confirmation(self._judge_again(plan), restarted=True)
        except NodeError as error:
            raise RefusedAfterRestart(str(error)) from error

    def _restart(self) -> None:
        """Restart containerd; returns when it runs anew. The command may return earlier, or may not restart it."""
        root, facts, began = self.commands.root, self.facts, time.time()
        if problem := self.commands.complaint(self.restart):
            raise ContainerdRefused(f"containerd did not restart, so everything was put back: {problem}")
        if facts.is_running and not wait_started_since(root, facts, began, patience=_RESTART_PATIENCE):
            raise ContainerdRefused(
                f"{' '.join(self.restart)}: after this no containerd started at {facts.socket} within "
                f"{_RESTART_PATIENCE:g} s, so everything was put back"
            )

    def restart_again(self) -> None:
        """With what it had before."""
        self.commands.complaint(self.restart)

    def _judge_again(self, plan: ChangePlan) -> Judgement:
        if not plan.record:
            return _UNKNOWN
        if self.facts.told:
            self.ask(self.commands.root.locate(self.facts.socket), _RESTART_PATIENCE)
        judgement = self._judge(self.find(), plan)
        self._require(judgement.uses, plan)
        self._require(judgement.takes, plan)
        return judgement

    def _judge(self, facts: NodeFacts, plan: ChangePlan) -> Judgement:
        root = self.commands.root
        try:
            config = read_config(self.tree, facts.config, facts.release, drop_ins=facts.distribution.drop_ins)
            return judge(root, facts, config)
        except NodeError:
            # What it thinks of a configuration that we did not touch is not for us to fail on.
            if plan.touches_config:
                raise
            return _UNKNOWN

    def _require(self, config_path: str | None, plan: ChangePlan) -> None:
        if plan.config_path and config_path not in (None, plan.config_path):
            looks = f"looks for hosts.toml files in {config_path}" if config_path else "looks for no hosts.toml files"
            raise ContainerdRefused(
                f"containerd {looks} and not in {plan.config_path}, whatever {self.facts.config} says; everything was "
                f"put back{_NO_CRI if self.facts.has_no_cri else ''}"
            )

    def _is_owed(self, plan: ChangePlan, judgement: Judgement) -> bool:
        """Whether an earlier run owes the restart, as far as containerd does not say itself what it uses."""
        record = plan.record or plan.known
        if record is None or judgement.uses is not None or not record.restart_due:
            return False
        return not has_started_since(self.commands.root, self.facts, record.changed_at)

    def _may_need_one(self, plan: ChangePlan) -> bool:
        """Whether a restart may be needed. A stopped containerd reads its files at its start; an unseen one may run."""
        return plan.touches_config or self.facts.is_running or bool(plan.known and plan.known.restart_due)

    @property
    def _is_made_of_drop_ins(self) -> bool:
        return self.facts.distribution.drop_ins is not None
