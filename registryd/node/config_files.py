"""The files that containerd's configuration is made of: the main one, and what it imports."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registryd.node.errors import ConfigConflict, PathProblem
from registryd.node.images_settings import table_at
from registryd.node.tree import matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from registryd.node.release import Release
    from registryd.node.tree import FileImage, NodeFiles

# Paths that match a pattern again and again: containerd itself takes each file once.
_MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file; `image` is None for a main file that does not exist, for containerd runs without one.

    `version` is that of the format; 0: the file names none. `folder` is where containerd looks for what the file
    imports: that of its name, though the name be a link to elsewhere.
    """

    path: Path
    image: FileImage | None
    document: dict[str, Any]
    version: int
    folder: Path

    @property
    def says_nothing(self) -> bool:
        return self.image is None or not self.image.data.strip()


def read_files(
    tree: NodeFiles, path: Path, release: Release, *, drop_ins: Path | None = None
) -> tuple[ConfigFile, ...]:
    """The main file and what it imports, in order; with `drop_ins` what it is made of, and not what was made of that.

    Raises ConfigConflict when one is no TOML, or PathProblem.
    """
    main = _read(tree, path) or ConfigFile(tree.canonical(path), None, {}, 0, path.parent)
    return tuple(_with_imports(tree, main, release, [str(drop_ins / "*.toml")] if drop_ins else None))


def _with_imports(
    tree: NodeFiles, main: ConfigFile, release: Release, patterns: Iterable[str] | None
) -> Iterator[ConfigFile]:
    """The files in containerd's order: the files of a folder before their own imports, each file once."""
    pending, seen = [main], {main.path}
    while pending:
        file = pending.pop(0)
        yield file
        named = patterns if patterns is not None and file is main else imports_of(file, release)
        for path in (path for pattern in named for path in matching(tree, Path(pattern))):
            imported = _read(tree, path)
            if imported and imported.path not in seen and len(seen) < _MOST_FILES:
                seen.add(imported.path)
                pending.append(imported)


def _read(tree: NodeFiles, path: Path) -> ConfigFile | None:
    folder, path = path.parent, tree.canonical(path)
    image = tree.read(path)
    if image is None:
        return None
    try:
        document = tomllib.loads(image.text)
    except ValueError as error:
        raise ConfigConflict(f"{path} is not TOML, so containerd does not start with it: {error}") from error
    version = document.get("version", 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ConfigConflict(f"{path}: {version!r} is no version of the format")
    return ConfigFile(path, image, document, version, folder)


def imports_of(file: ConfigFile, release: Release) -> list[str]:
    """The patterns of `imports`, relative ones taken from the file's folder as containerd does."""
    named = file.document.get("imports", [])
    patterns = [pattern for pattern in named if isinstance(pattern, str)] if isinstance(named, list) else []
    if not release.resolves_relative_patterns:
        patterns = [pattern for pattern in patterns if pattern.startswith("/") or "*" not in pattern]
    return [str(file.folder / pattern) for pattern in patterns]


# Where it listens

_DEFAULT_ADDRESS = Path("/run/containerd/containerd.sock")
_SERVER = ("plugins", "io.containerd.server.v1.grpc")


def address_in(tree: NodeFiles, path: Path) -> Path:
    """The socket that a main file names, since format 4 in a table of its own; the usual one where it names none."""
    try:
        document = _read(tree, path)
    except (ConfigConflict, PathProblem):
        document = None
    tables = (table_at(document.document, keys) for keys in (_SERVER, ("grpc",))) if document else ()
    address = next((table["address"] for table in tables if table.get("address")), None)
    return Path(address) if isinstance(address, str) else _DEFAULT_ADDRESS
