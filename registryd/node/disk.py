"""The few operations on files that a change is made of, each durable before the next begins."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.tree import FileImage

_FOLDER_MODE = 0o755
_LABELS = ("security.", "user.")


class Disk:
    """Paths are those of this process. Every method raises `OSError`, and either does its work or nothing."""

    def write(self, path: Path, image: FileImage) -> None:
        """Write a file that no program reads yet; it is on the disk when this returns."""
        # What somebody has put at that name, where others may write as well, would be written to, or read along by whom
        # it belongs to: a link to another file, or a file that is open elsewhere.
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(image.data)
                if os.geteuid() == 0:
                    os.fchown(descriptor, image.uid, image.gid)
                os.fchmod(descriptor, image.mode)
                file.flush()
                os.fsync(descriptor)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def rename(self, old: Path, new: Path) -> None:
        """Within a folder; a file at the new name is replaced."""
        old.rename(new)
        _sync(new.parent)

    def unlink(self, path: Path) -> None:
        path.unlink()
        _sync(path.parent)

    def make_folder(self, path: Path) -> None:
        path.mkdir()
        path.chmod(_FOLDER_MODE)  # whatever the umask
        _sync(path.parent)

    def remove_folder(self, path: Path) -> None:
        """An empty one."""
        path.rmdir()
        _sync(path.parent)

    def copy_labels(self, old: Path, new: Path) -> None:
        """SELinux' label and the like, as far as this system lets us; not access lists, which would open a secret."""
        with suppress(OSError):
            for name in os.listxattr(old):
                if name.startswith(_LABELS):
                    os.setxattr(new, name, os.getxattr(old, name))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
