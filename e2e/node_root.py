"""A whole node: a file system of its own, which begins as this machine's, a network, and a containerd started in it.

Everything is where the distributions have it. What is written stays in memory and goes with the process that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.commands import run
from lab.cri import ImageService
from lab.process import Process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from lab.namespaces import Namespace

# The lower layer is this machine's own root, without what is mounted in it.
_HOLD = """set -e
mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir up work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" root
for each in proc sys dev; do mount --rbind "/$each" "root/$each"; done
for each in run var/lib; do mount -t tmpfs tmpfs "root/$each"; done
rm -rf root/etc/containerd root/etc/k0s root/etc/rancher
touch ready && exec sleep infinity
"""
# What a set-up may touch, below the root; not what containerd itself keeps there.
_COMPARED = ("etc", "usr", "nix", "opt", "data", "var/lib", "var/snap")
_KEPT_BY_CONTAINERD = ("lib/containerd", "k0s/containerd", "agent/containerd", "microk8s/common", "nri", "etc/cni")


@dataclass
class NodeRoot:
    """`folder` is where it is mounted, which only its own processes see."""

    folder: Path
    namespace: Namespace
    holder: Process
    containerd: Process | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder.with_suffix(".log")

    # Its files

    def at(self, path: str) -> Path:
        """Where a path of the node is for this process."""
        return Path(f"/proc/{self.holder.pid}/root{self.folder}/root{path}")

    def write(self, files: Mapping[str, str | None]) -> None:
        """None: a folder."""
        for name, text in files.items():
            path = self.at(name)
            (path if text is None else path.parent).mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)

    def files(self) -> dict[str, tuple[int, bytes | str]]:
        """All that a set-up may have touched, with modes; links by where they lead."""
        upper = Path(f"/proc/{self.holder.pid}/root{self.folder}/up")
        found: dict[str, tuple[int, bytes | str]] = {}
        for name in _COMPARED:
            top = self.at(f"/{name}") if name == "var/lib" else upper / name
            for path in sorted(top.rglob("*")):
                below = str(path.relative_to(top))
                if any(f"/{each}/" in f"/{name}/{below}/" for each in _KEPT_BY_CONTAINERD):
                    continue
                status = path.lstat()
                content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
                found[f"{name}/{below}"] = status.st_mode, content
        return found

    # Its programs

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` on the node, in the same process."""
        inside = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "chroot", f"{self.folder}/root"]
        return self.namespace.command(*inside, *argv)

    async def run(self, *argv: str) -> str:
        return await run(*self.command(*argv))

    async def install_program(self, program: str, path: str) -> None:
        """Have a program of this machine at a path of the node, by no other name."""
        at = self.at(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.touch()
        await self.run("mount", "--bind", program, path)

    async def registryd(self, *words: str) -> str:
        return await self.run(sys.executable, "-m", "registryd", *words)

    async def doctor(self, *words: str) -> dict[str, tuple[str, str]]:
        """What it finds, by name; each name once."""
        argv = self.command(sys.executable, "-m", "registryd", "doctor", "--json", *words)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        findings: list[dict[str, Any]] = json.loads(output)["findings"]
        assert len({each["name"] for each in findings}) == len(findings), "one thing has two findings"
        return {each["name"]: (each["severity"], each["found"]) for each in findings}

    # containerd

    async def start(self, argv: Sequence[str], socket: str) -> None:
        """Return when CRI answers."""
        self.containerd = await Process.start(self.command(*argv), log=self.log)
        await self.containerd.wait_ready(self.images(socket).is_ready)

    async def stop(self) -> None:
        if self.containerd:
            await self.containerd.stop()

    def images(self, socket: str) -> ImageService:
        return ImageService(self.at(socket))


@contextlib.asynccontextmanager
async def node_root(folder: Path, namespace: Namespace) -> AsyncIterator[NodeRoot]:
    """A node on which nothing runs, and that has no containerd's files; for the length of the block."""
    folder.mkdir()
    hold = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _HOLD, "sh", str(folder)]
    async with running(hold, log=folder.with_suffix(".holder.log")) as holder:
        ready = Path(f"/proc/{holder.pid}/root{folder}/ready")
        await holder.wait_ready(lambda: _is_there(ready))
        node = NodeRoot(folder, namespace, holder)
        try:
            yield node
        finally:
            await node.stop()


async def _is_there(path: Path) -> bool:
    return path.exists()
