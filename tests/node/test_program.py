"""Asking containerd's program, and the commands of a node."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registryd.node.errors import ContainerdRefused
from registryd.node.host_commands import HostCommands
from registryd.node.host_root import HostRoot
from registryd.node.process import Process
from registryd.node.program import ContainerdProgram, program_of
from registryd.node.release import Release

COMMANDS = HostCommands(HostRoot())


def program(folder: Path, script: str, name: str = "containerd") -> ContainerdProgram:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return ContainerdProgram(COMMANDS, path)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6, 20)),
        ("containerd github.com/containerd/containerd/v2 v2.1.9 abcdef1", (2, 1, 9)),
        ("containerd containerd.io 1.7.27 05044ec0a9a7", (1, 7, 27)),
        ("containerd github.com/k3s-io/containerd v1.7.23-k3s2 ", (1, 7, 23)),
        ("what?", ()),
    ],
)
def test_the_version_is_what_the_program_says(tmp_path: Path, said: str, version: tuple[int, ...]) -> None:
    assert program(tmp_path, f"echo '{said}'").release() == Release(version)


def test_a_program_that_is_not_there_or_does_not_run_is_no_error(tmp_path: Path) -> None:
    missing = program_of(COMMANDS, None, [tmp_path / "none"], Release())
    assert missing.path is None
    broken = ContainerdProgram(COMMANDS, tmp_path)
    for each in (missing, broken):
        assert not each.release().is_known
        assert each.images(Path("/c.toml")) is None


@pytest.mark.parametrize(
    ("version", "table"),
    [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.images"), (4, "io.containerd.cri.v1.images")],
)
def test_what_containerd_says_about_its_configuration_counts(tmp_path: Path, version: int, table: str) -> None:
    text = f'version = {version}\n[plugins."{table}".registry]\nconfig_path = "/certs"\n'
    images = program(tmp_path, f"cat <<'E'\n{text}E").images(Path("/c.toml"))
    assert images is not None
    assert images.config_path == "/certs"


def test_a_configuration_that_it_refuses_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ContainerdRefused, match="line 3"):
        program(tmp_path, "echo 'bad: line 3' >&2; exit 1").images(Path("/c.toml"))


def test_of_two_programs_the_one_that_runs_is_asked(tmp_path: Path) -> None:
    """By its version, where a container does not see which one it is."""
    old, new = (program(tmp_path, f"echo 'containerd {version}'", version) for version in ("1.6.20", "2.4.2"))
    assert old.path
    assert new.path
    candidates = [old.path, new.path]
    assert program_of(COMMANDS, None, candidates, Release((2, 4, 2))).path == new.path
    assert program_of(COMMANDS, None, candidates, Release((2, 3, 7))).path is None
    assert program_of(COMMANDS, None, candidates, Release()).path == old.path


def test_the_one_that_runs_is_asked_though_an_upgrade_has_replaced_it(tmp_path: Path) -> None:
    link = tmp_path / "exe"
    link.symlink_to("/bin/sh")
    running = Process(7, Path("/usr/bin/sh"), Path("/c.toml"), link)
    found = program_of(COMMANDS, running, [], Release())
    assert found.executable == link
    assert COMMANDS.run(["sh", "-c", "echo $0"], executable=link).stdout == "sh\n"
    gone = Process(7, tmp_path / "containerd", Path("/c.toml"), tmp_path / "none")
    assert program_of(COMMANDS, gone, [Path("/bin/sh")], Release()).path == Path("/bin/sh")


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    assert COMMANDS.complaint(["true"]) == ""
    assert COMMANDS.complaint(["sh", "-c", "echo no >&2; false"]).endswith("no")
    assert "No such file" in COMMANDS.complaint([str(tmp_path / "none")])
    assert json.dumps(COMMANDS.complaint(["false"])).endswith('1"')


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
def test_below_a_root_a_program_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    commands = HostCommands(HostRoot(tmp_path))
    assert ContainerdProgram(commands, Path("/usr/bin/containerd")).images(Path("/c.toml")) is None
