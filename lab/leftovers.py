"""Names of what the lab makes outside its own process, and the sweep of what dead runs left behind.

A name says which process it belongs to: `rdlab-<pid>-<number>-<label>`. When that process is gone, nobody needs
the thing any more, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.commands import run
from lab.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NAMESPACES = Path("/run/netns")
_NAME = re.compile(r"rdlab-(\d+)-\d+-.*")
_numbers = itertools.count(1)


def unique_name(label: str) -> str:
    return f"rdlab-{os.getpid()}-{next(_numbers)}-{label}"


def is_left_over(name: str) -> bool:
    """Whether the lab made it in a process that no longer runs."""
    match = _NAME.fullmatch(name)
    return match is not None and not Path("/proc", match[1]).exists()


@contextlib.asynccontextmanager
async def workspace() -> AsyncIterator[Path]:
    """A folder with a short path, because a Unix socket's may have 107 bytes; gone afterwards, mounts in it too."""
    folder = _new_folder()
    try:
        yield folder
    finally:
        await remove_folder(folder)


async def remove_folder(folder: Path) -> None:
    """Remove it with all that is mounted below it, innermost first."""
    for mount in reversed(list(_mounts_below(folder))):
        await run("umount", "--lazy", str(mount))
    shutil.rmtree(folder, ignore_errors=True)


async def sweep() -> list[str]:
    """Remove the namespaces, processes and folders of dead runs; return the names of what was removed."""
    namespaces = [path.name for path in _left_over_in(NAMESPACES)]
    for name in namespaces:
        await remove_namespace(name)
    folders = list(_left_over_in(Path(tempfile.gettempdir())))
    for folder in folders:
        await remove_folder(folder)
    return [*namespaces, *(folder.name for folder in folders)]


async def remove_namespace(name: str) -> None:
    """Kill what still runs in a network namespace of the lab's own, and delete it. Gone already is fine."""
    with contextlib.suppress(CommandError):
        for pid in (await run("ip", "netns", "pids", name)).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        await run("ip", "netns", "delete", name)


def _new_folder() -> Path:
    folder = Path(tempfile.gettempdir(), unique_name("w"))
    folder.mkdir(mode=0o755)
    return folder


def _left_over_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if is_left_over(path.name))


def _mounts_below(folder: Path) -> Iterator[Path]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mount = Path(line.split()[1].replace("\\040", " "))
        if folder in mount.parents:
            yield mount
