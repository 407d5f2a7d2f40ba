"""Where the record is: a folder of our own, for root only, locked while somebody works on the node."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.node.errors import PathProblem, reason_of
from registryd.node.placing import put, sweep
from registryd.node.record import Record
from registryd.node.tree import FileImage, NodeTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.disk import Disk
    from registryd.node.host_root import HostRoot

STATE: Final = Path("/var/lib/registryd/node")
_NAME = "record.json"
_PRIVATE = 0o600  # it holds the bytes of files that may hold passwords
_OURS = "registryd"


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

    def load(self) -> Record | None:
        """None when nothing of ours is on the node. Raises RecordBroken or PathProblem."""
        image = NodeTree(self.root).read(self.path)
        return Record.from_json(image.data, self.path) if image else None

    def save(self, record: Record) -> None:
        """On the disk when this returns. Raises `OSError`."""
        put(self.disk, self._here, FileImage(record.to_json(), _PRIVATE, os.geteuid(), os.getegid()))

    def remove(self) -> None:
        """Without a trace: the folder too, and the one above it if it bears our name and is empty."""
        if self._here.exists():
            self.disk.unlink(self._here)
        sweep(self.disk, self._here)
        self._remove_folders()

    def _remove_folders(self) -> None:
        for folder in self._folders:
            with suppress(OSError):
                self.disk.remove_folder(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time; waits for the other. Without the folder there is nothing to protect yet."""
        try:
            for each in reversed((self._here.parent, *self._here.parent.parents)):
                if not each.is_dir():
                    self.disk.make_folder(each)
            descriptor = os.open(self._here.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._remove_folders()
            raise PathProblem(f"cannot keep a record in {self.folder}: {reason_of(error)}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def _folders(self) -> tuple[Path, ...]:
        above = self._here.parent.parent
        return (self._here.parent, above) if above.name == _OURS else (self._here.parent,)

    @property
    def _here(self) -> Path:
        return self.root.locate(self.path)
