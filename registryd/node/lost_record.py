"""A node with our entries but without our record: somebody removed the record, or the disk that it was on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registryd.node.change import Kind
from registryd.node.hosts_entry import MARKS
from registryd.node.hosts_file import hosts_with_mark
from registryd.node.record import Entry, Record
from registryd.node.registry_folder import HOSTS_TOML, read_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from registryd.node.tree import Tree


def found_by_mark(tree: Tree, roots: Iterable[Path]) -> Record | None:
    """A record by which our entries are taken out, though not what was there before brought back; None: no entry."""
    entries = [entry for root in roots for entry in _entries(tree, root)]
    return Record(tuple(entries), ()) if entries else None


def _entries(tree: Tree, root: Path) -> Iterator[Entry]:
    for folder in read_folders(tree, root):
        if folder.hosts and not folder.ignored_because and (urls := hosts_with_mark(folder.hosts.text, MARKS)):
            yield Entry(tree.canonical(folder.path / HOSTS_TOML), Kind.HOSTS, None, (), (), " ".join(urls))
