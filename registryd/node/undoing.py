"""A node without registryd: file by file, from the present files and the record of the earlier ones."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registryd.node.change import ChangePlan, FileChange, FileKind
from registryd.node.config_text import WRITTEN_BY_US, set_config_path
from registryd.node.errors import CannotMerge
from registryd.node.hosts_entry import MARKS
from registryd.node.hosts_file import hosts_with_mark, take_out
from registryd.node.images_settings import TABLES, table_at
from registryd.node.record import digest_of
from registryd.node.tree import ChangedTree, FileImage, NodeFiles

if TYPE_CHECKING:
    from registryd.node.images_settings import Table
    from registryd.node.record import InstallRecord, RecordedFile


@dataclass(frozen=True, slots=True)
class Undone:
    """A file without us, and what the operator should know about it (empty: nothing)."""

    image: FileImage | None
    why: str = "as it was"
    note: str = ""


def undone(entry: RecordedFile, current: FileImage | None) -> Undone:
    """The file as it was; if someone has changed it since, as it is now without what is ours."""
    if current is None or current == entry.before:
        return Undone(current)
    if digest_of(current.data) in entry.written:
        return Undone(_with_own_mode(entry, current))
    if entry.kind is FileKind.OWN:
        return Undone(current, note=f"{entry.path} has been changed since and is left")
    return _without_ours(entry, current)


def _with_own_mode(entry: RecordedFile, current: FileImage) -> FileImage | None:
    has_other_mode = entry.before is not None and current.mode not in entry.modes
    return replace(entry.before, mode=current.mode) if entry.before and has_other_mode else entry.before


def _without_ours(entry: RecordedFile, current: FileImage) -> Undone:
    try:
        text = _take_out(entry, current.text)
    except (CannotMerge, ValueError) as error:
        return Undone(current, note=f"{entry.path} has been changed since and {error}; it is left as it is")
    if entry.before is None and _is_nobodys(entry.kind, text):
        return Undone(None)
    mode = entry.before.mode if entry.before and current.mode in entry.modes else current.mode
    image = replace(current, data=text.encode(), mode=mode)
    return Undone(image, "changed since: only our part is taken out")


def _take_out(entry: RecordedFile, text: str) -> str:
    if entry.kind is FileKind.HOSTS:
        return take_out(text, *entry.ours.split(), *hosts_with_mark(text, MARKS))  # also at another address by now
    document = tomllib.loads(text)
    before = tomllib.loads(entry.before.text) if entry.before else {}
    for table in TABLES:
        if _config_path(document, table) == entry.ours:  # else it is someone's own choice by now
            value = _config_path(before, table)
            text = set_config_path(text, table, value if isinstance(value, str) else None)
    return text


def _config_path(document: dict[str, object], table: Table) -> object:
    return table_at(document, (*table, "registry")).get("config_path")


def _is_nobodys(kind: FileKind, text: str) -> bool:
    """Whether the file has only text of registryd. A configuration that registryd made says so."""
    if kind is FileKind.CONFIG and not text.startswith(WRITTEN_BY_US):
        return False
    return not {key for key in tomllib.loads(text) if key != "version"} and not [
        line for line in text.splitlines() if line.strip() and not line.startswith(("version", WRITTEN_BY_US))
    ]


# All files of a record


def without_us(tree: NodeFiles, record: InstallRecord | None) -> ChangedTree:
    """The node as it would be after an uninstall."""
    if record is None:
        return ChangedTree(tree)
    files = {entry.path: undone(entry, tree.read(entry.path)).image for entry in record.entries}
    return ChangedTree(tree, files, frozenset(record.folders))


def plan_uninstall(tree: NodeFiles, record: InstallRecord) -> ChangePlan:
    """The changes that take everything back, in the opposite order."""
    changes, notes = [], []
    for entry in reversed(record.entries):
        current = tree.read(entry.path)
        result = undone(entry, current)
        notes += [result.note] if result.note else []
        if result.image != current:
            changes.append(FileChange(entry.path, entry.kind, current, result.image, result.why))
    return ChangePlan(tuple(changes), record, None, tuple(notes))
