"""registryd's entries that are in no record: the record is lost, or a folder was copied, as by a snap's refresh."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

from registryd.node.change import FileKind
from registryd.node.config_text import MARK as CONFIG_MARK
from registryd.node.config_text import marked_values
from registryd.node.containerd_config import read_config
from registryd.node.distribution import ALL
from registryd.node.errors import ConfigConflict, NotAFile
from registryd.node.hosts_entry import MARKS
from registryd.node.hosts_file import hosts_with_mark
from registryd.node.record import InstallRecord, RecordedFile, digest_of
from registryd.node.registry_folder import HOSTS_TOML
from registryd.node.wanted_config import DROP_IN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from registryd.node.facts import NodeFacts
    from registryd.node.tree import FileImage, NodeFiles


def with_strays(
    tree: NodeFiles, record: InstallRecord | None, facts: NodeFacts, roots: Iterable[Path]
) -> InstallRecord | None:
    """The record, and entries for what bears our mark besides in the folders that count today.

    A copy of a file of ours becomes what that file was before us; of another only our part can be taken out. None:
    nothing of ours is on the node.
    """
    known = record.entries if record else ()
    paths = {entry.path for entry in known}
    found = {entry.path: entry for entry in (*_hosts(tree, known, facts, roots), *_configs(tree, facts))}
    strays = [_as_copied(entry, known, tree) for path, entry in found.items() if path not in paths]
    if not strays:
        return record
    # A folder that has nothing but our file goes with it: empty, it would hide `_default`.
    folders = dict.fromkeys(entry.path.parent for entry in strays if entry.kind is FileKind.HOSTS)
    record = record or InstallRecord((), ())
    return replace(record, entries=(*known, *strays), folders=(*record.folders, *folders))


def _hosts(
    tree: NodeFiles, known: Iterable[RecordedFile], facts: NodeFacts, roots: Iterable[Path]
) -> Iterator[RecordedFile]:
    of_record = [entry.path.parent.parent for entry in known if entry.kind is FileKind.HOSTS]
    usual = [facts.distribution.hosts, *(each.hosts for each in ALL)]
    for root in dict.fromkeys(map(tree.canonical, (*roots, *of_record, *usual))):
        for name in tree.names(root):
            path = tree.canonical(root / name / HOSTS_TOML)
            image = _read(tree, path) if tree.is_folder(root / name) else None
            if image and (urls := _marked_hosts(image)):
                yield RecordedFile(path, FileKind.HOSTS, None, (), (), " ".join(urls))


def _read(tree: NodeFiles, path: Path) -> FileImage | None:
    try:
        return tree.read(path)
    except NotAFile:
        return None


def _configs(tree: NodeFiles, facts: NodeFacts) -> Iterator[RecordedFile]:
    for path in _config_files(tree, facts):
        image = tree.read(path)
        for value in _marked_values(image) if image else ():
            yield RecordedFile(tree.canonical(path), FileKind.CONFIG, None, (), (), value)


def _config_files(tree: NodeFiles, facts: NodeFacts) -> Iterator[Path]:
    """The files that containerd reads, and the places of registryd's drop-ins that it may not read any more."""
    distribution = facts.distribution
    try:
        config = read_config(tree, facts.config, facts.release, drop_ins=distribution.drop_ins)
    except ConfigConflict:
        yield facts.config
    else:
        yield from (file.path for file in config.files)
    folders = [facts.config.parent / "conf.d", distribution.drop_ins, *(each.drop_ins for each in ALL)]
    yield from (folder / DROP_IN for folder in folders if folder)


def _marked_hosts(image: FileImage) -> list[str]:
    try:
        return hosts_with_mark(image.text, MARKS)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []


def _marked_values(image: FileImage) -> list[str]:
    return marked_values(image.data.decode(errors="replace")) if CONFIG_MARK.encode() in image.data else []


def _as_copied(entry: RecordedFile, known: Iterable[RecordedFile], tree: NodeFiles) -> RecordedFile:
    image = tree.read(entry.path)
    digest = digest_of(image.data) if image else ""
    original = next((each for each in known if each.kind is entry.kind and digest in each.written), None)
    return replace(original, path=entry.path) if original else entry
