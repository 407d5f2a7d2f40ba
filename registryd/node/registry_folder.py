"""The folders below a `config_path`, one for each registry, and what each means to containerd today."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.errors import CannotMerge, NotAFile
from registryd.node.hosts_entry import Certificates
from registryd.node.hosts_meaning import ignored_because
from registryd.node.release import Release
from registryd.node.toml_sections import quoted

if TYPE_CHECKING:
    from registryd.node.tree import FileImage, NodeFiles

HOSTS_TOML = "hosts.toml"
DEFAULT = "_default"
_NO_CERTIFICATES = Certificates()
_SOME_RELEASE = Release()


@dataclass(frozen=True, slots=True)
class RegistryFolder:
    """`registry` is what containerd looks up, `docker.io` or `host:5000`, or `_default` for all others.

    `certificates` are named relative to the folder. `is_no_file`: what has the name of the hosts.toml is none.
    """

    path: Path
    registry: str
    hosts: FileImage | None = None
    certificates: Certificates = _NO_CERTIFICATES
    release: Release = _SOME_RELEASE
    is_no_file: bool = False

    @property
    def file(self) -> Path:
        return self.path / HOSTS_TOML

    @property
    def ignored_because(self) -> str | None:
        """Why this node's containerd does not heed the hosts.toml that is there."""
        if self.is_no_file:
            return f"{HOSTS_TOML} is a folder, a pipe or a device, and every pull from {self.registry} fails with it"
        return ignored_because(self.hosts.data, self.release) if self.hosts else None


@dataclass(frozen=True, slots=True)
class FolderMeaning:
    """A hosts.toml that says what a folder means without us, and tables that have to come right after ours."""

    text: str
    then: str = ""


def read_folders(tree: NodeFiles, config_path: Path, release: Release) -> tuple[RegistryFolder, ...]:
    """Every registry's folder below a config_path; two names of one folder are one."""
    found: dict[Path, RegistryFolder] = {}
    for name in tree.names(config_path):
        path = tree.canonical(config_path / name)
        if not name.startswith(".") and path not in found and tree.is_folder(path):
            found[path] = read_folder(tree, path, registry_of(name), release)
    return tuple(found.values())


def read_folder(tree: NodeFiles, path: Path, registry: str, release: Release) -> RegistryFolder:
    # The file may be a link of its own, into a store of configurations: then that file is the one to change.
    try:
        hosts, is_no_file = tree.read(path / HOSTS_TOML), False
    except NotAFile:
        hosts, is_no_file = None, True
    return RegistryFolder(path, registry, hosts, _certificates(tree.names(path)), release, is_no_file)


def _certificates(names: tuple[str, ...]) -> Certificates:
    """The certificates, by `loadCertFiles` of containerd: without a key file, the certificate's file has the key."""
    authorities = tuple(name for name in names if name.endswith(".crt"))
    certificates = [name for name in names if name.endswith(".cert")]
    keys = [name.removesuffix(".cert") + ".key" for name in certificates]
    pairs = ((name, key if key in names else name) for name, key in zip(certificates, keys, strict=True))
    return Certificates(authorities, tuple(pairs))


def registry_of(folder: str) -> str:
    """The registry that a folder's name stands for: `host_5000_` is another way to write `host:5000`."""
    host, underscore, port = folder.removesuffix("_").rpartition("_")
    return f"{host}:{port}" if folder.endswith("_") and underscore and port.isdigit() and host else folder


def meaning_of(folder: RegistryFolder) -> FolderMeaning:
    """The present hosts of containerd for the registry. Raises CannotMerge when these cannot be said or kept."""
    if problem := folder.ignored_because:
        raise CannotMerge(f"containerd ignores this file, because {problem}")
    if not folder.hosts or not folder.hosts.data:
        return FolderMeaning(folder.certificates.to_toml())
    text = folder.hosts.text
    if "host" in tomllib.loads(text) or folder.release.heeds_a_lone_server:
        return FolderMeaning(text)
    return _meaning_of_ignored_server(folder, text)


def _meaning_of_ignored_server(folder: RegistryFolder, text: str) -> FolderMeaning:
    """The meaning of a file without hosts. 1.6 and 1.7 ignore it, and would obey it with a host of registryd in it.

    So the registry itself, which these versions use, comes before the server that they do not know yet.
    """
    if not tomllib.loads(text):
        return FolderMeaning(folder.certificates.to_toml() + text)
    if not folder.release.is_known:
        raise CannotMerge("only 2.0 and later heed a file without [host], and it is not known which containerd this is")
    if folder.registry == DEFAULT or folder.registry.startswith("localhost"):
        raise CannotMerge(f"{folder.release} ignores a file without [host]; give it one, or remove it")
    upstream = "registry-1.docker.io" if folder.registry == "docker.io" else folder.registry
    return FolderMeaning(text, f"\n[host.{quoted('https://' + upstream)}]\n{folder.certificates.to_toml()}")


def moved(
    folder: RegistryFolder, meaning: FolderMeaning, path: Path, registry: str
) -> tuple[RegistryFolder, FolderMeaning]:
    """The same meaning in another folder: files that were named relative to the old one are named in full."""
    text, then = (_absolute(each, folder.path) for each in (meaning.text, meaning.then))
    return RegistryFolder(path, registry), FolderMeaning(text, then)


def files_named_in(text: str) -> set[str]:
    """Authorities, certificates and keys that a hosts.toml names, relative to its folder or not."""
    document = tomllib.loads(text)
    tables = [document, *(host for host in document.get("host", {}).values() if isinstance(host, dict))]
    return {name for table in tables for key in ("ca", "client") for name in _strings(table.get(key))}


def _absolute(text: str, base: Path) -> str:
    names = files_named_in(text)
    for name in sorted(names, key=len, reverse=True):
        if not Path(name).is_absolute():
            for quote in ('"', "'"):
                text = text.replace(f"{quote}{name}{quote}", quoted(str(base / name)))
    return text


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []
