"""The files of the image: Debian's, those of PyPI, our own; one folder each, because each changes at its own pace."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.lab.apt import debian_codename, own_source
from registryd.lab.commands import require, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHECKOUT = Path(__file__).parents[1]
CACHE = CHECKOUT / ".cache" / "container-image"
# As in the Containerfile; minbase would add apt.
PACKAGES = ("ca-certificates", "libstdc++6", "python3")  # libstdc++: gRPC is C++
VARIANT = "essential"
PREFIX = Path("opt/registryd")
# Debian's own list of what a container does without (debuerreotype's slim): documents and translations.
_LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")

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


async def make_parts(work: Path) -> tuple[Part, ...]:
    """The parts, the lowest first. Debian's and PyPI's are kept in .cache; delete it for newer ones."""
    requirements = _requirements()
    return (
        await _cached("debian", _key(VARIANT, *PACKAGES, debian_codename()), _make_debian),
        await _cached("pypi", _key(sys.version, *requirements), _make_pypi),
        Part("registryd", await _make_own(work)),
    )


async def _cached(name: str, key: str, make: Callable[[Path], Awaitable[Path]]) -> Part:
    tar = CACHE / f"{name}-{key}.tar"
    if not tar.exists():
        work = CACHE / f"{name}.work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (await make(work)).rename(tar)
        shutil.rmtree(work)
    return Part(name, tar)


async def _make_debian(work: Path) -> Path:
    require("mmdebstrap", package="mmdebstrap")
    codename = debian_codename()
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "--aptopt=Acquire::Languages none"]
    include = f"--include={','.join(PACKAGES)}"
    tar = work / "debian.tar"
    stanza = own_source(codename).stanza(codename)
    await run("mmdebstrap", f"--variant={VARIANT}", include, *options, "--quiet", codename, str(tar), stdin=stanza)
    return tar


async def _make_pypi(work: Path) -> Path:
    packages = work / "root" / PREFIX / "lib" / _python() / "site-packages"
    await _pip("install", "--target", str(packages), *_requirements())
    return await _tar(work / "root", work / "pypi.tar")


async def _make_own(work: Path) -> Path:
    """The package as a wheel has it, and what makes the folder a virtual environment (PEP 405)."""
    root = work / "own"
    home = root / PREFIX
    await _pip("install", "--no-deps", "--target", str(home / "lib" / _python() / "site-packages"), str(CHECKOUT))
    programs = home / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to("/usr/bin/python3")
    (programs / "registryd").write_text(_PROGRAM)
    (programs / "registryd").chmod(0o755)
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    return await _tar(root, work / "own.tar")


async def _pip(*arguments: str) -> None:
    # Made for Debian's Python, whichever one this is.
    for_debian = ("--python-version", _python().removeprefix("python"), "--only-binary=:all:")
    of_wheels = for_debian if "--no-deps" not in arguments else ()
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    await run(*command, *arguments, *of_wheels, "--no-compile", "--no-warn-script-location")
    target = Path(arguments[arguments.index("--target") + 1])
    shutil.rmtree(target / "bin", ignore_errors=True)


async def _tar(root: Path, target: Path) -> Path:
    await run(
        *("tar", "--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"),
        *("--file", str(target), "--directory", str(root), "."),
    )
    return target


def _requirements() -> list[str]:
    found: list[str] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    return found


def _python() -> str:
    """What Debian calls its Python; which versions there are, is Debian's business."""
    return {"bookworm": "python3.11", "trixie": "python3.13"}[debian_codename()]


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
