"""Debian's files of the image, for any architecture: packages are unpacked, and what is needed of their set-up is done.

Not mmdebstrap: to run the packages' own scripts for another architecture takes an emulator. What they would do is
little for what is in here: users, the bundle of authorities, and a list of packages for scanners of images.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from lab.apt import debian_codename, isolated, own_source
from lab.commands import require, run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What the program needs, and a shell with the commands that people and the chart use. libstdc++: gRPC is C++.
PACKAGES: Final = (
    *("base-files", "base-passwd", "coreutils", "dash", "findutils", "grep", "libc-bin", "sed", "usr-is-merged"),
    *("ca-certificates", "libstdc++6", "python3"),
)
# Debian's own list of what a container does without (debuerreotype's slim): documents and translations. Licences stay.
_LEFT_OUT: Final = ("groff", "info", "linda", "lintian", "locale", "man")
_MERGED: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # links into /usr since Debian 12
_BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"


async def make_debian(work: Path, architecture: str) -> Path:
    """The root folder, below `work`. Raises CommandError, and UnavailableError elsewhere than on Debian."""
    archives = await _download(work, architecture)
    root = work / "root"
    _make_merged(root)
    for archive in archives:
        await _unpack(archive, root)
    _set_up(root)
    _write_status(root, [await run("dpkg-deb", "--field", str(archive)) for archive in archives])
    _slim(root)
    return root


async def _download(work: Path, architecture: str) -> list[Path]:
    """The packages and what they depend on, as files."""
    require("apt-get", package="apt")
    codename = debian_codename()
    options = isolated(own_source(codename), codename, work)
    # Nothing is installed as far as apt knows; it locks beside this file.
    (work / "status").touch()
    settings = {"APT::Architecture": architecture, "APT::Architectures": architecture}
    settings["Dir::State::status"] = str(work / "status")
    options += [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    await run("apt-get", "-qq", *options, "update")
    wanted = ("install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES)
    await run("apt-get", "-qq", *options, *wanted)
    return sorted(work.glob("cache/archives/*.deb"))  # noqa: ASYNC240 - a folder of a hundred


def _make_merged(root: Path) -> None:
    (root / "usr").mkdir(parents=True)
    for name in _MERGED:
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")


async def _unpack(archive: Path, root: Path) -> None:
    extract = "tar --extract --keep-directory-symlink --no-same-owner"
    await run("sh", "-ec", f'dpkg-deb --fsys-tarfile "$0" | {extract} --directory "$1"', str(archive), str(root))


def _set_up(root: Path) -> None:
    """What the packages' scripts would have done."""
    for name in ("passwd", "group"):
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = root / _BUNDLE
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(path.read_text() for path in authorities))
    link = root / "usr/lib/ssl/cert.pem"  # where OpenSSL looks first
    link.unlink(missing_ok=True)
    link.symlink_to(f"/{_BUNDLE}")


def _write_status(root: Path, controls: Iterable[str]) -> None:
    """Dpkg's list of what is installed: scanners of images read it."""
    stanzas = [control.rstrip().replace("\n", "\nStatus: install ok installed\n", 1) for control in controls]
    (root / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").write_text("\n\n".join([*stanzas, ""]))


def _slim(root: Path) -> None:
    for name in _LEFT_OUT:
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for path in (root / "usr/share/doc").glob("*/*"):
        if path.name != "copyright":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & 0o1777)  # nobody becomes another user in here
