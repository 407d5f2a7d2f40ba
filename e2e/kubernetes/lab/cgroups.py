"""A cgroup for each node, in which its kubelet has the pods; both versions of the kernel's interface."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import UnavailableError
from lab.leftovers import is_left_over

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/sys/fs/cgroup")
_TRIES = 50
_PAUSE_SECONDS = 0.1
# What a kubelet wants to exist (kubernetes, pkg/kubelet/cm).
_WANTED = ("cpu", "cpuset", "memory", "pids")


@contextlib.contextmanager
def new_cgroup(name: str) -> Iterator[None]:
    """A cgroup of this name below the root, in every hierarchy that there is; gone afterwards with all below it."""
    try:
        for hierarchy in _hierarchies():
            _make(hierarchy, name)
        yield
    finally:
        remove_cgroup(name)


def remove_cgroup(name: str) -> None:
    """Remove it; whoever was in it has ended. Gone already is fine."""
    for hierarchy in _folders():
        top = hierarchy / name
        if top.is_dir():
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                _remove(folder)
            _remove(top)


def sweep_cgroups() -> None:
    """Remove those of dead runs."""
    names = {path.name for hierarchy in _folders() for path in hierarchy.iterdir() if is_left_over(path.name)}
    for name in names:
        remove_cgroup(name)


def _remove(folder: Path) -> None:
    # The last process has been killed, and the kernel lets go of it a moment later.
    for _ in range(_TRIES):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    folder.rmdir()


def _folders() -> list[Path]:
    """Wherever cgroups may be: runc also makes them in version 2's hierarchy beside those of version 1."""
    return [_ROOT, *(path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink())]


def _hierarchies() -> list[Path]:
    """The folders of version 1's hierarchies, or the one of version 2."""
    if _is_version_2():
        return [_ROOT]
    # cpu and cpuacct may be one hierarchy under three names.
    found = [path for path in _folders() if (path / "cgroup.procs").exists()]
    return [path for path in found if not (path / "cgroup.controllers").exists()]


def check_cgroups() -> None:
    """Raise UnavailableError where a kubelet would not find what it needs."""
    if not _ROOT.is_dir():
        raise UnavailableError("there are no cgroups here")
    names = (_ROOT / "cgroup.controllers").read_text().split() if _is_version_2() else _names_of_version_1()
    if missing := set(_WANTED).difference(names):
        raise UnavailableError(f"a kubelet needs cgroups for {', '.join(sorted(missing))}")


def _names_of_version_1() -> list[str]:
    return [name for path in _ROOT.iterdir() for name in path.name.split(",")]


def _is_version_2() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _make(hierarchy: Path, name: str) -> None:
    if _is_version_2():
        wanted = " ".join(f"+{each}" for each in _WANTED)
        (hierarchy / "cgroup.subtree_control").write_text(wanted)
        (hierarchy / name).mkdir()
        (hierarchy / name / "cgroup.subtree_control").write_text(wanted)
        return
    (hierarchy / name).mkdir()
    for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one, and then nothing may run in it
        if (hierarchy / setting).exists():
            (hierarchy / name / setting).write_text((hierarchy / setting).read_text())
