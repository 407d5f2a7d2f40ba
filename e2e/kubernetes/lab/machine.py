"""A machine for one node: namespaces of its own for network, mounts, processes and name, which end with it.

Everything in it sees this machine's file system, with its own layer on top wherever a node writes. Its first process is
one of the lab's; when that one ends, or this process does, the kernel ends all the others and takes the mounts away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import NotReadyError
from lab.process import Process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from lab.network import Host

_READY = "waiting"  # what the first process says when the mounts are there
_POLL_SECONDS = 0.02
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Arguments: the machine's folder, its name, its first process, folders to lay over.
_SET_UP = """
set -e
folder=$1 name=$2 first=$3
shift 3
mount --make-rprivate /
hostname "$name"
mount -t proc proc /proc
for each; do
  mkdir -p "$folder/files$each" "$folder/work$each" "$each"
  mount -t overlay -o "lowerdir=$each,upperdir=$folder/files$each,workdir=$folder/work$each" overlay "$each"
done
for each in /run /var/lib/containerd /var/lib/kubelet; do
  mkdir -p "$folder/own$each" "$each"
  mount --bind "$folder/own$each" "$each"
done
mkdir -p /run/lock /run/netns
mount --make-rshared /
exec "$first"
"""
_LAYERED = ("/etc", "/opt", "/usr/local", "/var/lib", "/var/log")


@dataclass(frozen=True)
class Machine:
    """One that runs. Programs are started in it with its own paths; its files are seen from here as well."""

    name: str
    host: Host
    folder: Path
    first: Process

    @property
    def root(self) -> Path:
        """Its file system, as it sees it."""
        return Path(f"/proc/{_child_of(self.first.pid)}/root")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of the machine's own, below one of its layers."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in it; a program that is started so ends with the one that started it."""
        inside = ("-t", str(_child_of(self.first.pid)), "--net", "--mount", "--uts", "--pid")
        return ["nsenter", *inside, "setpriv", "--pdeathsig", "TERM", "env", f"PATH={_PATH}", *argv]

    async def start(
        self, argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> MachineProcess:
        return MachineProcess(await Process.start(self.command(*argv), log=log, environment=environment))


class MachineProcess:
    """A program in a machine: the child of the process that entered the machine for it."""

    def __init__(self, process: Process) -> None:
        self.outer = process

    @property
    def pid(self) -> int:
        """As this machine here counts."""
        return _child_of(self.outer.pid)

    async def stop(self, *, grace: float = 20) -> None:
        await self._signal(signal.SIGTERM, grace)

    async def kill(self) -> None:
        await self._signal(signal.SIGKILL, 5)

    async def _signal(self, number: signal.Signals, grace: float) -> None:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self.outer.is_running():  # noqa: ASYNC110 - the kernel has no event for it here
                    await asyncio.sleep(_POLL_SECONDS)
                return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.pid, signal.SIGKILL)
        await self.outer.stop()


@contextlib.asynccontextmanager
async def running_machine(host: Host, folder: Path, *, name: str, first: str) -> AsyncIterator[Machine]:
    """A machine that is up, for the length of the block. `first` is the program that is its first process."""
    folder.mkdir()
    set_up = ("sh", "-c", _SET_UP, "sh", str(folder), name, first, *_LAYERED)
    argv = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", *set_up)
    log = folder / "machine.log"
    async with running(argv, log=log, namespace=host.namespace) as process:
        await process.wait_ready(lambda: _has_said(log))
        try:
            yield Machine(name, host, folder, process)
        finally:
            await _end(process)


async def _has_said(log: Path) -> bool:
    return _READY in log.read_text(errors="replace")


async def _end(process: Process) -> None:
    """The first process's end is the end of all."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
        os.kill(_child_of(process.pid), signal.SIGKILL)
    for _ in range(500):
        if not process.is_running():
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise NotReadyError(f"the machine of pid {process.pid} does not end")


def _child_of(pid: int) -> int:
    """Raises IndexError without one."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
