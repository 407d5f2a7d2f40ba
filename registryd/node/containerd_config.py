"""containerd's own configuration: which files it is made of, and which `config_path` comes out of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.node.errors import ConfigConflict
from registryd.node.tree import FileImage, Tree, matching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.release import Release

# Where the images part of CRI has its settings, by the version of the file's format.
PLUGINS = {
    1: ("plugins", "cri"),
    2: ("plugins", "io.containerd.grpc.v1.cri"),
    3: ("plugins", "io.containerd.cri.v1.images"),
}

_LOCAL_PULL = ("discard_unpacked_layers", "use_local_image_pull")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file; `image` is None for a main file that does not exist, for containerd runs without one."""

    path: Path
    image: FileImage | None
    document: dict[str, Any]
    version: int

    @property
    def plugin(self) -> tuple[str, ...]:
        return PLUGINS[self.version]

    @property
    def registry(self) -> dict[str, Any] | None:
        """The settings of registries; empty when the file has the plugin's table but no such settings."""
        return self.table.get("registry", {}) if self.table else None

    @property
    def table(self) -> dict[str, Any]:
        """The settings of the plugin."""
        table: Any = self.document
        for key in self.plugin:
            table = table.get(key, {})
        return table if isinstance(table, dict) else {}


@dataclass(frozen=True, slots=True)
class ContainerdConfig:
    """The files in the order in which containerd reads them: the main one first."""

    files: tuple[ConfigFile, ...]
    release: Release

    @property
    def main(self) -> ConfigFile:
        return self.files[0]

    @property
    def owner(self) -> ConfigFile:
        """The file whose settings of registries count: the last that speaks of the plugin at all."""
        return next((file for file in reversed(self.files) if file.registry is not None), self.main)

    @property
    def registry(self) -> dict[str, Any]:
        """What counts of the settings of registries."""
        if not self.release.merges_drop_ins:
            return self.owner.registry or {}
        merged: dict[str, Any] = {}
        for file in self.files:
            merged |= file.registry or {}
        return merged

    @property
    def config_path(self) -> str:
        return str(self.registry.get("config_path") or self.release.default_config_paths)

    @property
    def hosts_roots(self) -> tuple[Path, ...]:
        """`config_path` as folders, in the order in which they are searched."""
        return tuple(Path(part) for part in self.config_path.split(":") if part)

    @property
    def ignores_path_lists(self) -> bool:
        """Whether a list in config_path may count for nothing: not where CRI pulls by itself, as before 2.1.

        2.1 goes back to that when layers are discarded, as on EKS, or when it is told to.
        """
        return self.release.ignores_path_lists and not any(_pulls_locally(file) for file in self.files)

    @property
    def drop_in_folder(self) -> Path | None:
        """Where a file may be put that the main one imports, if there is such a place."""
        patterns = [Path(pattern) for pattern in _imports(self.main)]
        return next((pattern.parent for pattern in patterns if pattern.name == "*.toml"), None)


def _pulls_locally(file: ConfigFile) -> bool:
    plugin = file.table
    tables = (plugin, plugin.get("containerd", {}))
    return any(table.get(key) is True for table in tables for key in _LOCAL_PULL if isinstance(table, dict))


def read_config(tree: Tree, path: Path, release: Release) -> ContainerdConfig:
    """Read the main file and what it imports. Raises ConfigConflict when one is no configuration of containerd."""
    path = tree.canonical(path)
    image = tree.read(path)
    fallback = 3 if release.merges_drop_ins else 2
    main = _parse(path, image) if image else ConfigFile(path, None, {}, fallback)
    if main.version == 1 and release.merges_drop_ins:
        raise ConfigConflict(f"{path} has no `version`, and {release} ignores CRI's settings in it; migrate it first")
    imported = (imported for pattern in _imports(main) for imported in matching(tree, Path(pattern)))
    return ContainerdConfig((main, *_drop_ins(tree, imported, main)), release)


def _drop_ins(tree: Tree, paths: Iterator[Path], main: ConfigFile) -> Iterator[ConfigFile]:
    for path in paths:
        image = tree.read(path)
        if image and tree.canonical(path) != main.path:
            yield _parse(tree.canonical(path), image)


def _parse(path: Path, image: FileImage) -> ConfigFile:
    try:
        document = tomllib.loads(image.text)
    except ValueError as error:
        raise ConfigConflict(f"{path} is not TOML, so containerd does not start with it: {error}") from error
    version = document.get("version", 1)
    if version not in PLUGINS:
        raise ConfigConflict(f"{path}: version {version} of the format is not known here")
    return ConfigFile(path, image, document, version)


def _imports(file: ConfigFile) -> list[str]:
    """The patterns of `imports`, relative ones taken from the file's folder as containerd does."""
    patterns = file.document.get("imports", [])
    return [str(file.path.parent / pattern) for pattern in patterns if isinstance(pattern, str)]
