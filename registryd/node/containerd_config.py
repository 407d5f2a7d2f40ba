"""containerd's own configuration: what comes out of the files that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.node.config_files import ConfigFile, imports_of, read_files
from registryd.node.errors import ConfigConflict
from registryd.node.images_settings import TABLES, ContainerdImagesSettings, counting_tables, images_table, table_at
from registryd.node.release import NEWEST_FORMAT, Release

if TYPE_CHECKING:
    from registryd.node.tree import NodeFiles


@dataclass(frozen=True)
class ContainerdConfig:
    """The files in the order in which containerd reads them: the main one first.

    `drop_ins`: where a program that writes the main file has the files that it makes it of, if it does.
    """

    files: tuple[ConfigFile, ...]
    release: Release
    drop_ins: Path | None = None

    @property
    def main(self) -> ConfigFile:
        return self.files[0]

    @cached_property
    def rules(self) -> Release:
        """By which the files are put together: of the release, or of one that starts with them if it is not known."""
        return self.release if self.release.is_known else Release.of_format(max(file.version for file in self.files))

    @property
    def merges_drop_ins(self) -> bool:
        """Whether a drop-in changes what it names and nothing else."""
        return self.rules.merges_drop_ins or self.drop_ins is not None

    def format_of(self, file: ConfigFile) -> int:
        """By which format a file is read: before 2.3 by that of the last file that names one."""
        if self.rules.migrates_each_file:
            return file.version
        return next((each.version for each in reversed(self.files) if each.version), 0)

    @cached_property
    def images(self) -> ContainerdImagesSettings:
        """The settings of images that count."""
        merged: dict[str, Any] = {}
        if self.rules.migrates_each_file:
            for file in self.files:
                _merge(merged, images_table(file.document, self.rules, file.version))
            return ContainerdImagesSettings(merged)
        for file in self.files:
            plugins = table_at(file.document, ("plugins",))
            if self.merges_drop_ins:
                _merge(merged, {"plugins": plugins})
            else:
                merged["plugins"] = merged.get("plugins", {}) | plugins
        return ContainerdImagesSettings(images_table(merged, self.rules, self.format_of(self.main)))

    @property
    def owner(self) -> ConfigFile:
        """The file whose settings of registries count: the last that has any."""
        return next((file for file in reversed(self.files) if self._has_say(file)), self.main)

    @property
    def dropped(self) -> tuple[ConfigFile, ...]:
        """Files whose settings of images count for nothing, because another file names a later format."""
        return tuple(file for file in self.files if self._is_dropped(file))

    @property
    def config_path(self) -> str:
        return self.images.config_path or self.release.default_config_paths

    @property
    def hosts_roots(self) -> tuple[Path, ...]:
        """`config_path` as folders, in the order in which they are searched."""
        return roots_of(self.config_path)

    @property
    def ignores_path_lists(self) -> bool:
        """Whether a list in config_path may count for nothing: not where CRI pulls by itself, as before 2.1."""
        return self.release.ignores_path_lists and not self.images.pulls_locally

    @property
    def drop_in_folder(self) -> Path | None:
        """Where a file may be put that counts like the main one, if there is such a place."""
        if self.drop_ins is not None:
            return self.drop_ins
        patterns = [Path(pattern) for pattern in imports_of(self.main, self.rules)]
        return next((each.parent for each in patterns if each.name == "*.toml" and "*" not in str(each.parent)), None)

    def _has_say(self, file: ConfigFile) -> bool:
        tables = [table_at(file.document, path) for path in counting_tables(self.rules, self.format_of(file))]
        # A drop-in that replaces the whole table has the say even if it names no registry.
        return any("registry" in table if self.merges_drop_ins else table for table in tables)

    def _is_dropped(self, file: ConfigFile) -> bool:
        counting = counting_tables(self.rules, self.format_of(file))
        return any(table_at(file.document, path) for path in TABLES if path not in counting)


def roots_of(config_path: str) -> tuple[Path, ...]:
    """A `config_path` as folders."""
    return tuple(Path(part) for part in config_path.split(":") if part)


def read_config(tree: NodeFiles, path: Path, release: Release, *, drop_ins: Path | None = None) -> ContainerdConfig:
    """Read the main file and what it imports; with `drop_ins` what it is made of, and not what was made of that.

    Raises ConfigConflict when a file is no configuration of this containerd.
    """
    config = ContainerdConfig(read_files(tree, path, release, drop_ins=drop_ins), release, drop_ins)
    _require_known_formats(config)
    return config


def _require_known_formats(config: ContainerdConfig) -> None:
    for file in config.files:
        if file.version > NEWEST_FORMAT:
            raise ConfigConflict(
                f"{file.path} is in version {file.version} of the format, and this registryd knows up to "
                f"{NEWEST_FORMAT}: nothing is changed; a later registryd may know it"
            )
        if config.format_of(file) > config.release.newest_format:
            raise ConfigConflict(
                f"{file.path} is in version {file.version} of the format, and {config.release} does not start with it"
            )


def _merge(into: dict[str, Any], table: dict[str, Any]) -> None:
    """Merge as containerd does: tables key by key. Any other value is replaced."""
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, dict) else value
