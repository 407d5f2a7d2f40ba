"""The containerds that the lab can run: the system's own, those of other Debian suites, and those built from source."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from lab.apt import unpack_package
from lab.commands import run
from lab.errors import UnavailableError
from lab.go import GoPrograms, build
from lab.kept import cache_folder, keep

Series: TypeAlias = Literal["1.6", "1.7", "2.1", "2.2", "2.3", "2.4"]

# containerd's RELEASES.md, November 2026: 2.3 is the LTS, until April 2028; 2.4 until May 2027. The others have ended.
ALIVE_SERIES: Final[tuple[Series, ...]] = ("2.3", "2.4")
# Clusters still have the ended ones. 2.2 is to be had too, when somebody asks for it.
TESTED_SERIES: Final[tuple[Series, ...]] = ("1.6", "1.7", "2.1", *ALIVE_SERIES)
# What stands for all: the alive ones and, of those that have ended, the one that is least like them.
REPRESENTATIVE_SERIES: Final[tuple[Series, ...]] = ("1.6", *ALIVE_SERIES)

# The suite that had the series in 2026. Suites move on: a Release says what it really is.
_SUITES: Final[dict[Series, str]] = {"1.6": "bookworm", "1.7": "trixie", "2.1": "sid"}
_KEPT: Final = "containerd"
_MODULE: Final = "github.com/containerd/containerd/v2"
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)")


def _source(version: str, *, go: tuple[int, int, int]) -> GoPrograms:
    """A release as upstream's Makefile builds it, without what needs C libraries or is only documentation."""
    tags = "no_btrfs,no_devmapper,no_zfs,urfave_cli_no_docs"
    flags = f"-s -w -X {_MODULE}/version.Version={version}"
    programs = ("cmd/containerd", "cmd/ctr", "cmd/containerd-shim-runc-v2")
    return GoPrograms(_MODULE, programs, f"v{version}", go, ("-tags", tags, "-ldflags", flags))


# `go` is what each release's go.mod asks for.
_SOURCES: Final[dict[Series, GoPrograms]] = {
    "2.2": _source("2.2.9", go=(1, 25, 0)),
    "2.3": _source("2.3.7", go=(1, 26, 8)),
    "2.4": _source("2.4.2", go=(1, 26, 6)),
}


@dataclass(frozen=True)
class Release:
    """An installed containerd."""

    version: tuple[int, int, int]
    programs: Path  # the folder with containerd, ctr and the shims

    @property
    def containerd(self) -> str:
        return str(self.programs / "containerd")

    @property
    def ctr(self) -> str:
        return str(self.programs / "ctr")

    def __str__(self) -> str:
        return "containerd " + ".".join(map(str, self.version))


async def obtain(series: Series) -> Release:
    """One of that series.

    2.2 and later: a pinned release, built once. Before: the system's containerd if it is of that series, else the
    one of a Debian suite, downloaded once. Both are kept in the checkout's .cache, or in the user's when there is no
    checkout; delete it there to get a newer one. Raises UnavailableError with the reason when there is none.
    """
    if source := _SOURCES.get(series):
        return await _release_in(await keep(cache_folder(_KEPT) / source.version, partial(build, source)))
    own = await system_release()
    if own and ".".join(map(str, own.version[:2])) == series:
        return own
    suite = _SUITES[series]
    return await _release_in(await keep(cache_folder(_KEPT) / suite, partial(_download, suite)) / "usr" / "bin")


async def system_release() -> Release | None:
    path = shutil.which("containerd")
    return await _release_in(Path(path).parent) if path else None


async def any_release() -> Release:
    """The system's containerd if there is one, else the newest that is to be had."""
    return await system_release() or await obtain(ALIVE_SERIES[-1])


async def _release_in(programs: Path) -> Release:
    output = await run(str(programs / "containerd"), "--version")
    match = _VERSION.search(output.split("containerd/containerd", 1)[-1])
    if not match:
        raise UnavailableError(f"containerd does not say its version: {output.strip()}")
    major, minor, patch = (int(part) for part in match.groups())
    return Release((major, minor, patch), programs)


async def _download(suite: str, work: Path) -> Path:
    await unpack_package("containerd", suite=suite, target=work / "unpacked", work=work)
    return work / "unpacked"
