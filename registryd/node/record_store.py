"""The place of the record: a folder of registryd's own, for root only, locked while a command works on the node."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.node.errors import PathProblem, reason_of
from registryd.node.placing import put, sweep
from registryd.node.record import InstallRecord
from registryd.node.tree import FileImage, NodeTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.disk import Disk
    from registryd.node.host_root import HostRoot

STATE: Final = Path("/var/lib/registryd/node")
_NAME = "record.json"
_PRIVATE = 0o600  # it holds the bytes of files that may hold passwords
_OURS = "registryd"
_MOST_TRIES = 100  # each lost to another run that came and went; on a file system that makes no folders, all of them


@dataclass(frozen=True, slots=True)
class RecordStore:
    """`folder` is a path of the node."""

    root: HostRoot
    disk: Disk
    folder: Path = STATE

    @property
    def path(self) -> Path:
        return self.folder / _NAME

    @property
    def is_there(self) -> bool:
        """Whether a run has at least begun; it may have been interrupted before the record was written."""
        return any(folder.is_dir() for folder in self._folders)

    def load(self) -> InstallRecord | None:
        """None when nothing of ours is on the node. Raises RecordBroken or PathProblem."""
        image = NodeTree(self.root).read(self.path)
        return InstallRecord.from_json(image.data, self.path) if image else None

    def save(self, record: InstallRecord) -> None:
        """On the disk when this returns. Raises `OSError`."""
        put(self.disk, self._here, FileImage(record.to_json(), _PRIVATE, os.geteuid(), os.getegid()))

    def remove(self) -> None:
        """Without a trace: the folder too, and the one above it if it bears our name and is empty."""
        if self._here.exists():
            self.disk.unlink(self._here)
        sweep(self.disk, self._here)
        self._remove(*self._folders)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time; waits for the other. Raises PathProblem when there can be no folder to lock."""
        try:
            descriptor = self._lock()
        except OSError as error:
            raise PathProblem(f"cannot keep a record in {self.folder}: {reason_of(error)}") from error
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self) -> int:
        """The descriptor of the locked folder, which is made if it is missing. Raises `OSError`.

        Another run's `remove` may take the folder away until this run has the lock. Then this run begins again.
        """
        for _ in range(_MOST_TRIES):
            made: list[Path] = []
            try:
                self._make_folders(made)
                descriptor = os.open(self._here.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError:
                self._remove(*reversed(made))
                raise
            if _locks(descriptor, self._here.parent):
                return descriptor
            os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._here.parent))

    def _make_folders(self, made: list[Path]) -> None:
        """Make the missing folders; `made` gets those that this run makes. A folder of another run is as good."""
        for folder in reversed((self._here.parent, *self._here.parent.parents)):
            if folder.is_dir():
                continue
            made.append(folder)
            try:
                self.disk.make_folder(folder)
            except FileExistsError:
                made.remove(folder)
                if os.path.lexists(folder) and not folder.is_dir():
                    raise

    def _remove(self, *folders: Path) -> None:
        for folder in folders:
            with suppress(OSError):
                self.disk.remove_folder(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        above = self._here.parent.parent
        return (self._here.parent, above) if above.name == _OURS else (self._here.parent,)

    @property
    def _here(self) -> Path:
        return self.root.locate(self.path)


def _locks(descriptor: int, folder: Path) -> bool:
    """Wait for the lock on the opened folder. Gives whether the name still means this folder."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.stat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
