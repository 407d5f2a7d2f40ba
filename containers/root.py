"""The files of the image: Debian's, those of PyPI, our own; one folder each, because each changes at its own pace."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from containers.debian import PACKAGES, make_debian
from lab.apt import debian_codename
from lab.commands import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CHECKOUT = Path(__file__).parents[1]
CACHE = CHECKOUT / ".cache" / "container-image"
RUNTIME = CHECKOUT / "requirements" / "runtime.txt"
PREFIX = Path("opt/registryd")
# OCI's names, which are Debian's, and Linux'.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = {"bookworm": 36, "trixie": 41}  # 2.36, 2.41
_RECIPE = "2"  # another number for other files of the same packages

_PROGRAM = """#!/opt/registryd/bin/python3
import sys

from registryd.__main__ import main

sys.exit(main())
"""


@dataclass(frozen=True)
class Part:
    """A tar with some of the image's files."""

    name: str
    tar: Path


async def make_parts(work: Path, architectures: Sequence[str]) -> dict[str, tuple[Part, ...]]:
    """The parts by architecture, the lowest first. Debian's and PyPI's are kept in .cache; delete it for newer ones."""
    own = await _make_own(work)
    below = await asyncio.gather(*(_make_below(each) for each in architectures))
    return {each: (*parts, own) for each, parts in zip(architectures, below, strict=True)}


async def _make_below(architecture: str) -> tuple[Part, Part]:
    """What changes seldom."""

    async def debian(work: Path) -> Path:
        return await _tar(await make_debian(work, architecture), work / "debian.tar")

    async def pypi(work: Path) -> Path:
        return await _make_pypi(work, architecture)

    return await asyncio.gather(
        _cached("debian", _key(architecture, *PACKAGES, debian_codename(), _RECIPE), debian),
        _cached("pypi", _key(architecture, _python(), RUNTIME.read_text()), pypi),
    )


async def _cached(name: str, key: str, make: Callable[[Path], Awaitable[Path]]) -> Part:
    tar = CACHE / f"{name}-{key}.tar"
    if not tar.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}.") as work:
            (await make(Path(work))).rename(tar)
    return Part(name, tar)


async def _make_pypi(work: Path, architecture: str) -> Path:
    packages = work / "root" / PREFIX / "lib" / _python() / "site-packages"
    # Made for Debian's Python and C library, whichever machine this is.
    machine = MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(17, _GLIBC[debian_codename()] + 1)]
    platforms += [f"manylinux2014_{machine}", "any"]
    for_debian = ["--python-version", _python().removeprefix("python"), "--only-binary=:all:", "--implementation=cp"]
    for_debian += [f"--platform={platform}" for platform in platforms]
    # Exactly the files that are named by their hashes.
    await _pip("install", "--target", str(packages), *for_debian, "--require-hashes", "--requirement", str(RUNTIME))
    return await _tar(work / "root", work / "pypi.tar")


async def _make_own(work: Path) -> Part:
    """The package as a wheel has it, for any architecture; with what makes it a virtual environment (PEP 405)."""
    root = work / "own"
    home = root / PREFIX
    await _pip("install", "--no-deps", "--target", str(home / "lib" / _python() / "site-packages"), str(CHECKOUT))
    programs = home / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to("/usr/bin/python3")
    (programs / "registryd").write_text(_PROGRAM)
    (programs / "registryd").chmod(0o755)
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    return Part("registryd", await _tar(root, work / "own.tar"))


async def _pip(*arguments: str) -> None:
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    await run(*command, *arguments, "--no-compile", "--no-warn-script-location")
    target = Path(arguments[arguments.index("--target") + 1])
    shutil.rmtree(target / "bin", ignore_errors=True)


async def _tar(root: Path, target: Path) -> Path:
    await run(
        *("tar", "--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"),
        *("--file", str(target), "--directory", str(root), "."),
    )
    return target


def _python() -> str:
    """What Debian calls its Python; which versions there are, is Debian's business."""
    return {"bookworm": "python3.11", "trixie": "python3.13"}[debian_codename()]


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
