"""Changes of containerd's own configuration so that it looks at registryd's hosts.toml files: often none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registryd.node.config_text import WRITTEN_BY_US, set_config_path
from registryd.node.containerd_config import roots_of
from registryd.node.errors import CannotMerge, ConfigConflict
from registryd.node.images_settings import NEW, OLD, TABLE_OF_FORMAT, TABLES, counting_tables, table_at
from registryd.node.intent import Intent, WantedFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registryd.node.config_files import ConfigFile
    from registryd.node.containerd_config import ContainerdConfig
    from registryd.node.distribution import Distribution
    from registryd.node.images_settings import Table
    from registryd.node.tree import FileImage, NodeFiles

# After what people number up to 90 and packages name by a word, for the last file that sets a key wins.
DROP_IN: Final = "zz-registryd.toml"
# Format 3 for a file of ours beside nothing that has one: every 2.x starts with it. 2 for 1.x.
_FORMAT, _OLD_FORMAT = 3, 2
_WRITTEN_BY_OTHERS: Final = re.compile(
    rb"#[^\n]*(?:(?:generated|managed|written|rendered) by|do not edit)", re.IGNORECASE
)
_HEAD_BYTES = 1024


def hosts_roots(config: ContainerdConfig, intent: Intent, distribution: Distribution) -> tuple[Path, ...]:
    """The folders that count, registryd's first, then those that count today."""
    wanted = wanted_path(config, intent, distribution)
    return tuple(dict.fromkeys([*roots_of(wanted), *config.hosts_roots]))


def wanted_path(config: ContainerdConfig, intent: Intent, distribution: Distribution) -> str:
    """The wanted `config_path`. Raises ConfigConflict when the intent names what containerd would ignore."""
    if intent.config_path:
        return _one(str(intent.config_path), config)
    is_ignored = ":" in config.config_path and config.ignores_path_lists  # one path and a colon is a list as well
    if not config.hosts_roots or (is_ignored and not config.images.config_path):
        return str(distribution.hosts)
    return str(config.hosts_roots[0]) if is_ignored else config.config_path


def _one(path: str, config: ContainerdConfig) -> str:
    if ":" in path and config.ignores_path_lists:
        raise ConfigConflict(f"{config.release} may ignore a list in config_path: name one folder instead of {path}")
    return path


def wanted_config(
    tree: NodeFiles, config: ContainerdConfig, intent: Intent, distribution: Distribution
) -> tuple[WantedFile, ...]:
    """The one file to change, or none. Raises ConfigConflict when that would stop containerd, or would not last."""
    wanted = wanted_path(config, intent, distribution)
    if wanted == config.config_path:
        return ()
    place = _place(config)
    _require_possible(tree, config, place, distribution)
    try:
        data = set_config_path(place.text(tree.read(place.path)), place.table, wanted).encode()
    except CannotMerge as error:
        raise ConfigConflict(f'{place.path} {error}; set config_path = "{wanted}" in it yourself') from error
    return (WantedFile(place.path, data, _why(config, wanted), wanted),)


def notes_on(tree: NodeFiles, config: ContainerdConfig, wanted: tuple[WantedFile, ...]) -> Iterator[str]:
    """Notes for the operator on the files that are changed, and on files that have no effect."""
    for file in config.dropped:
        yield (
            f"{config.release} passes over the settings of images in {file.path}: it reads its files in version "
            f"{config.format_of(file)} of the format, and these are written as in an earlier one"
        )
    for each in wanted:
        image = tree.read(each.path)
        if image and (each.path != config.main.path or _is_written_by_others(image)):
            yield (
                f"{each.path} is another program's file: when that program writes it again, config_path is lost. "
                "Run install again then (`agent --configure-containerd` does), and restart containerd"
            )


def _is_written_by_others(image: FileImage) -> bool:
    return bool(_WRITTEN_BY_OTHERS.search(image.data[:_HEAD_BYTES])) and not image.data.startswith(
        WRITTEN_BY_US.encode()
    )


def _require_possible(tree: NodeFiles, config: ContainerdConfig, place: _Place, distribution: Distribution) -> None:
    if config.images.in_the_way:
        raise ConfigConflict(
            f"{config.owner.path} has {config.images.in_the_way}, and containerd refuses that together with "
            "config_path: write it as hosts.toml files first (containerd's docs/hosts.md)"
        )
    if distribution.instead and place.path == tree.canonical(distribution.config):
        raise ConfigConflict(f"{place.path} does not set config_path, and is not to be changed: {distribution.instead}")
    if tree.is_read_only(place.path):
        raise ConfigConflict(
            f"{place.path} does not set config_path, and is on a file system that is for reading only: start "
            "containerd with a copy of it (--config), and install again"
        )


# Where it is set


@dataclass(frozen=True, slots=True)
class _Place:
    """A file, its table, and the format that a new file names (0: none)."""

    path: Path
    table: Table
    version: int

    def text(self, image: FileImage | None) -> str:
        if image and image.data.strip():
            return image.text
        return f"{WRITTEN_BY_US}\n" + (f"version = {self.version}\n" if self.version else "")


def _place(config: ContainerdConfig) -> _Place:
    folder, owner = config.drop_in_folder, config.owner
    if config.merges_drop_ins and folder:
        drop_in = folder / DROP_IN
        if owner == config.main or (owner.path.parent == folder and owner.path.name < drop_in.name):
            return _Place(drop_in, *_form_of_drop_in(config))
    if owner.says_nothing:
        version = _FORMAT if config.rules.merges_drop_ins else _OLD_FORMAT
        return _Place(owner.path, TABLE_OF_FORMAT[version], version)
    return _Place(owner.path, _table_in(owner, config), 0)


def _form_of_drop_in(config: ContainerdConfig) -> tuple[Table, int]:
    """The main file's format: a drop-in of another format would switch off the main file's settings (seen on 2.1.9).

    Where the files already have several formats, the drop-in names none, and the formats of the others count.
    """
    main, common = config.main.version, config.format_of(config.main)
    if config.rules.migrates_each_file:
        version = main if main >= _OLD_FORMAT else _FORMAT
        return TABLE_OF_FORMAT[version], version
    if common == main and main >= _OLD_FORMAT:
        return TABLE_OF_FORMAT[main], main
    return (OLD if common == _OLD_FORMAT else NEW), 0


def _table_in(file: ConfigFile, config: ContainerdConfig) -> Table:
    """The table of this file that wins: one with registries, or an existing one, or one of the file's format."""
    version = config.format_of(file)
    counting = [table for table in TABLES[::-1] if table in counting_tables(config.rules, version)]
    with_registry = (table for table in counting if "registry" in table_at(file.document, table))
    there = (table for table in counting if table_at(file.document, table))
    usual = TABLE_OF_FORMAT[version] if version and TABLE_OF_FORMAT[version] in counting else counting[-1]
    return next(with_registry, next(there, usual))


def _why(config: ContainerdConfig, wanted: str) -> str:
    if not config.config_path:
        return f"containerd looks for hosts.toml files in {wanted} from now on; nothing told it where"
    if ":" not in config.config_path:
        return f"containerd looks for hosts.toml files in {wanted} instead of {config.config_path}"
    return f"config_path is {wanted} instead of {config.config_path}, which {config.release} may ignore as a list"
