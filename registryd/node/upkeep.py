"""A node that an agent sets up when it starts and keeps set up: what others write again is put right again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registryd.node.containerd_config import read_config, roots_of
from registryd.node.errors import NodeError
from registryd.node.registry_folder import HOSTS_TOML
from registryd.node.setup import NodeSetup
from registryd.node.tree import NodeTree
from registryd.node.wanted_config import DROP_IN
from registryd.store.socket import KNOWN_SOCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registryd.node.facts import NodeFacts
    from registryd.node.intent import Intent
    from registryd.node.setup import SetupOutcome

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Upkeep:
    """Looks at one node again and again. Blocks: an agent calls it in a thread.

    Args:
        make_setup: Makes a set-up that finds out anew what the node is; it may have another containerd by now.
        is_over: Whether the node was taken back by `uninstall`; then it is left alone.
    """

    intent: Intent
    make_setup: Callable[[], NodeSetup] = NodeSetup
    is_over: bool = False
    _was_set_up: bool = False
    _said: set[str] = field(default_factory=set)

    def look(self) -> tuple[bool, frozenset[Path]]:
        """Set the node up if needed; returns whether it changed something, and the paths to watch.

        What keeps the node from being set up is logged, once, and tried again when one of the paths changes.
        """
        setup = self.make_setup()
        try:
            outcome = setup.renew(self.intent) if self._was_set_up else setup.install(self.intent)
        except NodeError as error:
            self._say(logging.ERROR, f"containerd is not set up to ask this agent: {error}")
            return False, self._paths(setup, None)
        if outcome is None:
            self.is_over = True
            _log.warning(
                "`registryd uninstall` has undone this node's set-up; the next start of an agent sets the node up again"
            )
            return False, frozenset()
        self._was_set_up = True
        self._tell(outcome)
        return bool(outcome.plan.changes), self._paths(setup, outcome)

    # What it tells

    def _tell(self, outcome: SetupOutcome) -> None:
        for change in outcome.plan.changes:
            _log.info("%s: %s", change.path, change.why)
        if outcome.plan.changes:
            self._said.clear()
        for note in outcome.plan.notes:
            self._say(logging.WARNING, note)
        facts, judgement = outcome.facts, outcome.confirmation.judgement
        if outcome.restart_due:
            how = facts.distribution.how_to_restart
            self._say(
                logging.WARNING, f"containerd must be restarted: it reads {facts.config} only when it starts ({how})"
            )
        elif judgement.takes is None and judgement.uses is None:
            self._say(logging.WARNING, "nobody could be asked whether containerd looks for hosts.toml files here")

    def _say(self, level: int, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _log.log(level, "%s", text)

    # What it watches

    def _paths(self, setup: NodeSetup, outcome: SetupOutcome | None) -> frozenset[Path]:
        try:
            found = list(_paths_of(NodeTree(setup.root), setup.facts, outcome))
        except NodeError as error:
            _log.debug("containerds are looked for: %s", error)
            found = list(KNOWN_SOCKETS)
        return frozenset(_watchable(setup.root.path / path.relative_to("/")) for path in found)


def _paths_of(tree: NodeTree, facts: NodeFacts, outcome: SetupOutcome | None) -> Iterator[Path]:
    """The paths that upkeep watches: the node's containerd, its configuration, and each registry's hosts.toml."""
    yield facts.socket
    yield facts.config
    try:
        config = read_config(tree, facts.config, facts.release, drop_ins=facts.distribution.drop_ins)
    except NodeError:
        return  # whoever mends it is noticed
    yield from (file.path for file in config.files)
    if config.drop_in_folder:
        yield config.drop_in_folder / DROP_IN
    for root in roots_of(outcome.plan.config_path if outcome else config.config_path):
        yield root / "_default" / HOSTS_TOML
        yield from (root / name / HOSTS_TOML for name in tree.names(root) if tree.is_folder(root / name))
        yield root / "_default"


def _watchable(path: Path) -> Path:
    """The path; for a missing path, its first missing part, whose folder exists."""
    while not path.parent.is_dir():
        path = path.parent
    return path
