"""Carrying out a plan: the record first, then file by file; a failure takes back what was done."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registryd.node.errors import ApplyFailed, NodeError, reason_of
from registryd.node.placing import put, remove, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from registryd.node.change import ChangePlan, FileChange
    from registryd.node.disk import Disk
    from registryd.node.host_root import HostRoot
    from registryd.node.record import InstallRecord
    from registryd.node.record_store import RecordStore


@dataclass(frozen=True, slots=True)
class Applying:
    """Makes the changes of plans on one node."""

    root: HostRoot
    disk: Disk
    records: RecordStore

    def apply(self, plan: ChangePlan, *, check: Callable[[], ChangePlan]) -> None:
        """Make every change, or none.

        `check` looks at the result and gives the plan back, with the record that is to be left; what it raises takes
        everything back. After a crash, at whatever point, another install or uninstall finds in the record what it
        needs. Raises ApplyFailed, or what `check` raised.
        """
        done: list[FileChange] = []
        on_the_way = plan.record.covering(plan.known) if plan.record else plan.known
        try:
            if on_the_way and on_the_way != plan.known:
                self.records.save(on_the_way)
            for change in plan.changes:
                self._make(change, on_the_way)
                done.append(change)
            self._finish(check(), on_the_way)
        except OSError as error:
            where = done[-1].path if len(done) == len(plan.changes) and done else self._next(plan, done)
            self._take_back(done, plan, on_the_way)
            raise ApplyFailed(f"cannot change {where}: {reason_of(error)}; nothing was changed") from error
        except NodeError:
            self._take_back(done, plan, on_the_way)
            raise

    def sweep(self, record: InstallRecord | None) -> None:
        """Remove what an interrupted run left beside the files. Raises ApplyFailed."""
        try:
            self._sweep(record)
        except OSError as error:
            raise ApplyFailed(f"cannot tidy up after an interrupted run: {error}") from error

    def _sweep(self, record: InstallRecord | None) -> None:
        for entry in record.entries if record else ():
            sweep(self.disk, self.root.locate(entry.path))

    def _make(self, change: FileChange, record: InstallRecord | None) -> None:
        path = self.root.locate(change.path)
        if change.after is not None:
            put(self.disk, path, change.after)
        elif path.exists():
            is_ours = record is not None and change.path.parent in record.folders
            remove(self.disk, path, with_folder=is_ours)

    def _finish(self, plan: ChangePlan, on_the_way: InstallRecord | None) -> None:
        kept = plan.record.folders if plan.record else ()
        self._remove_folders(folder for folder in (on_the_way.folders if on_the_way else ()) if folder not in kept)
        if plan.record is None:
            self.records.remove()
        elif plan.record != on_the_way:
            self.records.save(plan.record)

    def _remove_folders(self, folders: Iterable[Path]) -> None:
        """Remove the empty folders, the innermost first."""
        for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
            with suppress(OSError):
                self.disk.remove_folder(self.root.locate(folder))

    def _take_back(self, done: list[FileChange], plan: ChangePlan, record: InstallRecord | None) -> None:
        try:
            self._sweep(record)
            for change in reversed(done):
                self._make(change.inverse, record)
            known = plan.known.folders if plan.known else ()
            self._remove_folders(folder for folder in (record.folders if record else ()) if folder not in known)
            if plan.known:
                self.records.save(plan.known)
            else:
                self.records.remove()
        except OSError as error:
            raise ApplyFailed(f"cannot go on, nor go back: {error}; `registryd uninstall` will, once it can") from error

    @staticmethod
    def _next(plan: ChangePlan, done: list[FileChange]) -> Path | str:
        return plan.changes[len(done)].path if len(done) < len(plan.changes) else "the record"
