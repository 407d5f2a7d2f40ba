"""Changes of a node, as values: a file before and after, and the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.record import InstallRecord
    from registryd.node.tree import FileImage


class FileKind(StrEnum):
    """How a file is put right when someone has changed it since."""

    HOSTS = "hosts"  # our host is taken out
    CONFIG = "config"  # config_path is set back
    OWN = "own"  # it is theirs now


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file, all at once. None: there is no such file."""

    path: Path
    kind: FileKind
    before: FileImage | None
    after: FileImage | None
    why: str

    @property
    def inverse(self) -> FileChange:
        return replace(self, before=self.after, after=self.before)


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Changes in an order in which every state on the way is one that containerd can use.

    Args:
        changes: The changes; may be empty.
        known: The record that is there now.
        record: The record that is left; None when nothing of registryd's is left.
        notes: Further notes for the operator, each a sentence or two.
        config_path: Where containerd is to look for hosts.toml files afterwards; empty: registryd does not set it.
    """

    changes: tuple[FileChange, ...]
    known: InstallRecord | None
    record: InstallRecord | None
    notes: tuple[str, ...] = ()
    config_path: str = ""

    @property
    def is_nothing(self) -> bool:
        return not self.changes and self.known == self.record

    @property
    def touches_config(self) -> bool:
        """Whether containerd has to be restarted for it: hosts.toml it reads at every pull."""
        return any(change.kind is FileKind.CONFIG for change in self.changes)
