"""Kubernetes, etcd and a program that waits, built from their Go modules once and kept by what they are built from.

Nobody serves them as packages. The modules in `programs/` pin every version (go.mod, go.sum); a change there or of the
flags makes a new folder in .cache/kubernetes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.commands import require, run
from lab.errors import CommandError, UnavailableError
from lab.go import toolchain
from lab.kept import keep

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCES: Final = Path(__file__).parents[1] / "programs"
_CACHE: Final = Path(__file__).parents[3] / ".cache" / "kubernetes"
_GO: Final = (1, 26, 0)  # what their go.mod ask for
# 6 minutes 20 s on two processors, downloads excluded; a machine that is busy with others takes several times that.
_LONGEST_SECONDS: Final = 45 * 60
# The collector would run all the time in a compilation of this size; the limit keeps two linkers below 3 GiB.
_ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOGC": "off", "GOMEMLIMIT": "1500MiB", "GOTOOLCHAIN": "local"}
_NICENESS: Final = "5"  # elsewhere than in CI others work beside it


@dataclass(frozen=True)
class Module:
    """A folder of `programs/` and what is built from it."""

    folder: str
    packages: tuple[str, ...] = (".",)


_COMMANDS: Final = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
_KUBERNETES: Final = Module("kubernetes", tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS))


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)


def kubernetes_version() -> str:
    """Such as "1.37.2", as go.mod pins it."""
    return _pinned("kubernetes", "k8s.io/kubernetes")


def etcd_version() -> str:
    """Such as "3.7.3"."""
    return _pinned("etcd", "go.etcd.io/etcd/server/v3")


async def obtain_programs() -> Programs:
    """The programs, from the cache if they are there. Raises UnavailableError with what this machine lacks."""
    return Programs(await keep(_CACHE / f"{kubernetes_version()}-{_digest()}", _build))


async def _build(work: Path) -> Path:
    target = work / "built"
    target.mkdir()
    go, environment = await toolchain(_GO, work)
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            for module in (_KUBERNETES, Module("etcd"), Module("pause")):
                await _build_module(go, {**environment, **_ENVIRONMENT}, module, target)
    except TimeoutError as error:
        raise UnavailableError(f"Kubernetes is not built after {_LONGEST_SECONDS // 60} minutes") from error
    return target


async def _build_module(go: str, environment: Mapping[str, str], module: Module, target: Path) -> None:
    source = str(_SOURCES / module.folder)
    with_us = (require("setpriv", package="util-linux"), "--pdeathsig", "KILL", "nice", "-n", _NICENESS)
    command = (go, "build", "-C", source, *_flags(), "-o", f"{target}/", *module.packages)
    try:
        await run(*with_us, *command, environment=environment)
    except CommandError as error:
        last_line = error.said.rpartition("\n")[2]
        raise UnavailableError(f"{module.folder} of the lab cannot be built: {last_line}") from error


def _flags() -> tuple[str, ...]:
    version = kubernetes_version()
    major, minor, _ = version.split(".")
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    linking = ["-s", "-w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())]
    return "-mod=readonly", "-trimpath", "-p=2", f"-ldflags={' '.join(linking)}"


def _digest() -> str:
    """Of everything that the programs are made of."""
    parts = [text.encode() for text in (*_flags(), *_COMMANDS)]
    for path in sorted(path for path in _SOURCES.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
        parts += [path.relative_to(_SOURCES).as_posix().encode(), path.read_bytes()]
    return hashlib.sha256(bytes(1).join(parts)).hexdigest()[:12]


def _pinned(folder: str, module: str) -> str:
    found = re.search(rf"{re.escape(module)} v(\S+)", (_SOURCES / folder / "go.mod").read_text())
    assert found, f"programs/{folder}/go.mod does not require {module}"
    return found[1]
