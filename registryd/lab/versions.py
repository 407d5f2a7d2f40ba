"""The containerds that the lab can run: the system's own, and those of other Debian suites."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from registryd.lab.apt import unpack_package
from registryd.lab.commands import run
from registryd.lab.errors import UnavailableError

Series: TypeAlias = Literal["1.6", "1.7", "2.1"]
ALL_SERIES: tuple[Series, ...] = get_args(Series)
# The suite that had the series in 2026. Suites move on: a Release says what it really is.
_SUITES: dict[Series, str] = {"1.6": "bookworm", "1.7": "trixie", "2.1": "sid"}
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)")
_CHECKOUT = Path(__file__).parents[2]


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
    """The system's containerd if it is of that series, else the one of a Debian suite, downloaded once.

    A download is kept in the checkout's .cache, or in the user's when there is no checkout; delete it to get
    a newer one. Raises UnavailableError with the reason when there is neither.
    """
    own = await system_release()
    if own and ".".join(map(str, own.version[:2])) == series:
        return own
    return await _release_in(await _downloaded(_SUITES[series]) / "usr" / "bin")


async def system_release() -> Release | None:
    path = shutil.which("containerd")
    return await _release_in(Path(path).parent) if path else None


async def any_release() -> Release:
    """The system's containerd if there is one, else the newest that is to be had."""
    return await system_release() or await obtain(ALL_SERIES[-1])


async def _release_in(programs: Path) -> Release:
    output = await run(str(programs / "containerd"), "--version")
    match = _VERSION.search(output.split("containerd/containerd", 1)[-1])
    if not match:
        raise UnavailableError(f"containerd does not say its version: {output.strip()}")
    major, minor, patch = (int(part) for part in match.groups())
    return Release((major, minor, patch), programs)


async def _downloaded(suite: str) -> Path:
    target = _cache() / suite
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{suite}.") as folder:
        work = Path(folder)
        await unpack_package("containerd", suite=suite, target=work / "unpacked", work=work)
        if not target.is_dir():  # another run may have been faster
            (work / "unpacked").rename(target)
    return target


def _cache() -> Path:
    if (_CHECKOUT / "pyproject.toml").is_file():
        return _CHECKOUT / ".cache" / "containerd"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "registryd" / "containerd"
