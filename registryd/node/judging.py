"""containerd's own reading of its configuration: of the running containerd if it tells, else of its program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.node.containerd_config import read_config, roots_of
from registryd.node.errors import NodeError
from registryd.node.images_settings import ContainerdImagesSettings
from registryd.node.starting import changed_at, has_started_since

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.containerd_config import ContainerdConfig
    from registryd.node.facts import NodeFacts
    from registryd.node.host_root import HostRoot
    from registryd.node.tree import NodeFiles


@dataclass(frozen=True, slots=True)
class Judgement:
    """By whose word: `uses` is the running one's (2.4 and later), `takes` its program's, of the files as they are now.

    Args:
        uses: The `config_path` that is used, with its default; None: it does not say.
        takes: The `config_path` that a restart would give, with its default; None: nobody could be asked.
        images: The settings that `takes` is from.
        is_outdated: Whether the one that runs has not read its files as they are now.
    """

    uses: str | None
    takes: str | None
    images: ContainerdImagesSettings | None
    is_outdated: bool

    @property
    def config_path(self) -> str | None:
        """The path that counts now, as far as is known; None: unknown."""
        return self.takes if self.uses is None else self.uses


def judge(root: HostRoot, facts: NodeFacts, config: ContainerdConfig) -> Judgement:
    """Ask. Raises ContainerdRefused when it would not start with its configuration."""
    is_there = config.main.image is not None
    dumped = facts.program.images(facts.config) if is_there else ContainerdImagesSettings()
    # Where the main file is made of drop-ins, what is in it now is of the last time that this was done.
    images = config.images if config.drop_ins else dumped
    takes, has = (None if each is None else each.config_path or facts.default_paths for each in (images, dumped))
    uses = facts.told.config_path if facts.told else None
    if takes is None or (uses is None and (has is None or not config.drop_ins)):
        return Judgement(uses, takes, images, _has_changed_since(root, facts, config))
    return Judgement(uses, takes, images, is_outdated=facts.is_running and takes != (has if uses is None else uses))


def reads_other_files(root: HostRoot, facts: NodeFacts, config: ContainerdConfig) -> bool:
    """Whether the running containerd says something else than these files, though they did not change since."""
    uses = facts.told.config_path if facts.told else None
    if uses is None or config.drop_ins or roots_of(uses) == config.hosts_roots:
        return False
    # A file that is gone was in one of these.
    folders = {file.path.parent for file in config.files} | {config.drop_in_folder or config.main.path.parent}
    has_changed = any(not has_started_since(root, facts, changed_at(root, folder)) for folder in folders)
    return not has_changed and not _has_changed_since(root, facts, config)


def _has_changed_since(root: HostRoot, facts: NodeFacts, config: ContainerdConfig) -> bool:
    paths = [file.path for file in config.files if file.image]
    return facts.is_running and any(not has_started_since(root, facts, changed_at(root, path)) for path in paths)


def roots_in_use(root: HostRoot, tree: NodeFiles, facts: NodeFacts) -> tuple[Path, ...]:
    """The folders in which the containerd of the facts looks for hosts.toml files, as far as anybody can say."""
    if facts.told and facts.told.config_path is not None:
        return roots_of(facts.told.config_path)
    try:
        config = read_config(tree, facts.config, facts.release, drop_ins=facts.distribution.drop_ins)
        judgement = judge(root, facts, config)
    except NodeError:
        return ()
    return roots_of(judgement.config_path or "") if judgement.config_path is not None else config.hosts_roots
