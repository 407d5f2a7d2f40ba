"""Which hosts.toml files a node needs so that containerd asks us first, and asks the others as before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.errors import CannotMerge
from registryd.node.hosts_file import put_first
from registryd.node.intent import Intent, WantedFile
from registryd.node.registry_folder import (
    DEFAULT,
    FolderMeaning,
    RegistryFolder,
    meaning_of,
    moved,
    read_folder,
    read_folders,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.release import Release
    from registryd.node.tree import NodeFiles


@dataclass(slots=True)
class HostsFiles:
    """The files, in the order in which to write them, and what could not be done."""

    wanted: list[WantedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def wanted_hosts(tree: NodeFiles, roots: tuple[Path, ...], intent: Intent, release: Release) -> HostsFiles:
    """Search `roots` as containerd does: the first folder for a registry counts, and nothing is merged.

    So our host goes into each folder that is there, and `_default` is written last: it hides the later roots, whose
    folders must be in the first root by then.
    """
    files = HostsFiles()
    hidden: list[str] = []
    folders = _of_some(tree, roots, intent, release) if intent.registries else _of_all(tree, roots, release)
    for source, target, registry in sorted(folders, key=lambda found: found[2] == DEFAULT):
        if registry == DEFAULT and hidden and not tree.is_folder(target):
            files.notes.append(f"{target}: not made, because it would hide {', '.join(hidden)}")
            continue
        try:
            files.wanted.append(_wanted(source, target, registry, intent))
        except CannotMerge as error:
            hidden += [str(source.path)] if source.path != target else []
            files.notes.append(f"{source.file}: {error}. Left as it is: {_who(registry)} not mirrored")
    return files


_Found = tuple[RegistryFolder, Path, str]
"""The folder that counts for a registry today, the folder that shall count, and the registry."""


def _of_all(tree: NodeFiles, roots: tuple[Path, ...], release: Release) -> Iterator[_Found]:
    first = roots[0]
    seen: set[str] = set()
    for root in roots:
        here = [folder for folder in read_folders(tree, root, release) if root == first or folder.registry not in seen]
        for folder in here:
            yield folder, folder.path if root == first else first / folder.registry, folder.registry
        seen |= {folder.registry for folder in here}
        if DEFAULT in seen:
            return
    yield RegistryFolder(first / DEFAULT, DEFAULT, release=release), first / DEFAULT, DEFAULT


def _of_some(tree: NodeFiles, roots: tuple[Path, ...], intent: Intent, release: Release) -> Iterator[_Found]:
    first = roots[0]
    for host in (registry.written for registry in intent.registries):
        own = [folder for folder in read_folders(tree, first, release) if folder.registry == host]
        for folder in own:
            yield folder, folder.path, host
        if not own:
            yield _folder_that_counts(tree, roots, host, release), first / host, host


def _folder_that_counts(tree: NodeFiles, roots: tuple[Path, ...], host: str, release: Release) -> RegistryFolder:
    for root in roots:
        by_registry = {folder.registry: folder for folder in reversed(read_folders(tree, root, release))}
        if found := by_registry.get(host) or by_registry.get(DEFAULT):
            return found
    return read_folder(tree, roots[0] / host, host, release)


def _wanted(source: RegistryFolder, target: Path, registry: str, intent: Intent) -> WantedFile:
    meaning = meaning_of(source)
    if source.path != target:
        folder, meaning = moved(source, meaning, target, registry)
    else:
        folder = source
    text = put_first(meaning.text, *intent.entries, then=meaning.then)
    why = _why(source, folder, meaning)
    urls = " ".join(entry.url for entry in intent.entries)
    is_secret = any(entry.headers for entry in intent.entries)
    return WantedFile(folder.file, text.encode(), why, urls, is_secret=is_secret)


def _why(source: RegistryFolder, target: RegistryFolder, meaning: FolderMeaning) -> str:
    if source.path != target.path:
        return f"registryd first; the rest as in {source.path}, which is not searched for it any more"
    if source.hosts and source.hosts.data:
        return "registryd first, the rest as it was"
    if meaning.text:
        return "registryd first; it names the certificates beside it, which containerd only looks for where it is not"
    if source.registry == DEFAULT:
        return "registryd first for every registry without a folder of its own"
    return f"registryd first, then {source.registry} itself; without it the folder would hide {DEFAULT}"


def _who(registry: str) -> str:
    return "registries without a folder of their own are" if registry == DEFAULT else f"{registry} is"
