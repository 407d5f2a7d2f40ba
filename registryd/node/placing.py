"""A file comes, changes and goes atomically, together with the folder that exists only for it.

A folder of a registry must never be there without its hosts.toml: an empty folder hides `_default`, and containerd may
be pulling. So a new folder is made under a name that no registry has, and moved. A folder that goes is moved away
first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.disk import Disk
    from registryd.node.tree import FileImage

# Not *.toml, which an `imports` pattern would match, and no certificate's suffix.
_SUFFIX = ".registryd-new"


def put(disk: Disk, path: Path, image: FileImage) -> None:
    """Write the file in place of an existing one, making its folder and those above it."""
    if not path.parent.is_dir():
        _put_with_folder(disk, path, image)
        return
    staged = _staged(path)
    disk.write(staged, image)
    if path.exists():
        disk.copy_labels(path, staged)
    disk.rename(staged, path)


def _put_with_folder(disk: Disk, path: Path, image: FileImage) -> None:
    folder = path.parent
    for each in reversed(folder.parents):
        if not each.is_dir():
            disk.make_folder(each)
    sweep(disk, path)
    staged = _staged(folder)
    disk.make_folder(staged)
    disk.write(staged / path.name, image)
    disk.rename(staged, folder)


def remove(disk: Disk, path: Path, *, with_folder: bool) -> None:
    """Remove the file, and its folder if that is wished and nothing else is in it."""
    if not with_folder or {entry.name for entry in path.parent.iterdir()} != {path.name}:
        disk.unlink(path)
        return
    staged = _staged(path.parent)
    disk.rename(path.parent, staged)
    disk.unlink(staged / path.name)
    disk.remove_folder(staged)


def sweep(disk: Disk, path: Path) -> None:
    """Remove what an interrupted `put` or `remove` of the file left beside it."""
    staged = _staged(path.parent)
    for file in (_staged(path), staged / path.name):
        if file.exists():
            disk.unlink(file)
    if staged.is_dir():
        with suppress(OSError):  # somebody else's things in it
            disk.remove_folder(staged)


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}{_SUFFIX}")
