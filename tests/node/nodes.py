"""Nodes as folders: made of a few lines, compared byte by byte, and disks that break at a given step."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.disk import Disk
from registryd.node.facts import Containerd
from registryd.node.host_root import HostRoot
from registryd.node.hosts_entry import MirrorEntry
from registryd.node.intent import Intent, TokenFile
from registryd.node.release import Release
from registryd.node.setup import NodeSetup
from registryd.oci.reference import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.node.tree import FileImage

URL = "http://127.0.0.1:3172"
CERTS = "etc/containerd/certs.d"
CONFIG_V2 = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
CONFIG_V3 = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'\n"
TOKEN = TokenFile(Path("/etc/registryd/token"), "a-token\n")
OWNER = (os.geteuid(), os.getegid())


NEXT = "https://cache.lab:3172"


def intent(
    *, registries: tuple[str, ...] = (), has_token: bool = False, config_path: str = "", has_cache: bool = False
) -> Intent:
    headers = (("Registryd-Token", "a-token"),) if has_token else ()
    return Intent(
        MirrorEntry(URL, headers=headers),
        (MirrorEntry(NEXT, headers=headers, is_next=True, authorities="/etc/registryd/ca.pem"),) if has_cache else (),
        tuple(map(Registry, registries)),
        TOKEN if has_token else None,
        Path(config_path) if config_path else None,
        OWNER,
    )


@dataclass(frozen=True)
class FolderNode:
    """A node below a folder. `files` by their path without the leading slash; None makes a folder."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "var/lib").mkdir(parents=True)

    def with_files(self, files: Mapping[str, str | None]) -> FolderNode:
        for name, text in files.items():
            path = self.root / name
            folder = path if text is None else path.parent
            folder.mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)
        return self

    def setup(self, release: str = "1.7.24", disk: Disk | None = None) -> NodeSetup:
        containerd = Containerd(release=Release.parse(release))
        return NodeSetup(HostRoot(self.root), containerd=containerd, disk=disk or Disk())

    def text(self, name: str) -> str:
        return (self.root / name).read_text()

    def hosts(self, registry: str) -> str:
        return self.text(f"{CERTS}/{registry}/hosts.toml")

    def state(self) -> dict[str, tuple[int, int, int, bytes | str | None]]:
        """Everything below the root: kind and mode, owner, and content."""
        return {str(path.relative_to(self.root)): _state(path) for path in self.root.rglob("*")}


def _state(path: Path) -> tuple[int, int, int, bytes | str | None]:
    status = path.lstat()
    content: bytes | str | None = None
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    return status.st_mode, status.st_uid, status.st_gid, content


class PowerCut(BaseException):
    """Not an Exception: nothing gets to tidy up."""


@dataclass
class BreakingDisk(Disk):
    """Does so many operations and then, at the next, raises `failure`; the state after one is that before the next."""

    steps: int
    failure: BaseException
    taken: int = field(default=0)

    def write(self, path: Path, image: FileImage) -> None:
        self._step(lambda: super(BreakingDisk, self).write(path, image))

    def rename(self, old: Path, new: Path) -> None:
        self._step(lambda: super(BreakingDisk, self).rename(old, new))

    def unlink(self, path: Path) -> None:
        self._step(lambda: super(BreakingDisk, self).unlink(path))

    def make_folder(self, path: Path) -> None:
        self._step(lambda: super(BreakingDisk, self).make_folder(path))

    def remove_folder(self, path: Path) -> None:
        self._step(lambda: super(BreakingDisk, self).remove_folder(path))

    def _step(self, operation: object) -> None:
        assert callable(operation)
        self.taken += 1
        if self.taken == self.steps + 1:
            raise self.failure
        operation()
