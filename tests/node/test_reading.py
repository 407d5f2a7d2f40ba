"""The node's files as they are read: links below a root, globs, odd files, containerd's program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registryd.node.errors import ContainerdRefused, PathProblem
from registryd.node.host_root import HostRoot
from registryd.node.probing import ContainerdProgram, HostCommands, find_program
from registryd.node.registry_folder import registry_of
from registryd.node.release import Release
from registryd.node.tree import ChangedTree, FileImage, NodeTree, matching


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("/srv/certs", "srv/certs"),
        ("../srv/certs", "srv/certs"),
        ("../../../../../srv/certs", "srv/certs"),
        ("/../../etc/passwd", "etc/passwd"),
        (".", "etc"),
    ],
)
def test_links_stay_below_the_root(tmp_path: Path, link: str, leads_to: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/link").symlink_to(link)
    root = HostRoot(tmp_path)
    assert root.locate(Path("/etc/link/x")) == tmp_path / leads_to / "x"
    assert root.canonical(Path("/etc/link/x")) == Path("/") / leads_to / "x"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(PathProblem, match="too many"):
        HostRoot(tmp_path).locate(Path("/a/x"))


def test_a_folder_where_a_file_should_be_and_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").mkdir()
    (tmp_path / "image").write_bytes(bytes(5 << 20))
    tree = NodeTree(HostRoot(tmp_path))
    with pytest.raises(PathProblem, match=r"hosts\.toml: Is a directory"):
        tree.read(Path("/hosts.toml"))
    with pytest.raises(PathProblem, match="larger than 4 MiB"):
        tree.read(Path("/image"))
    assert tree.read(Path("/image/below")) is None
    assert tree.names(Path("/none")) == ()


def test_globs_are_sorted_and_take_what_looks_hidden(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", ".c.toml", "d.conf"):
        (tmp_path / name).touch()
    tree = NodeTree(HostRoot(tmp_path))
    assert [path.name for path in matching(tree, Path("/*.toml"))] == [".c.toml", "a.toml", "b.toml"]
    assert matching(tree, Path("/x.toml")) == (Path("/x.toml"),)


def test_a_changed_tree_shows_the_changes(tmp_path: Path) -> None:
    for name in ("gone/hosts.toml", "kept/ca.crt", "kept/hosts.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    changed: dict[Path, FileImage | None] = {Path("/gone/hosts.toml"): None, Path("/kept/hosts.toml"): None}
    tree = ChangedTree(NodeTree(HostRoot(tmp_path)), changed, frozenset({Path("/gone"), Path("/kept")}))
    assert tree.names(Path("/")) == ("kept",)
    assert tree.names(Path("/kept")) == ("ca.crt",)
    assert tree.read(Path("/gone/hosts.toml")) is None
    assert not tree.is_folder(Path("/gone"))


@pytest.mark.parametrize(
    ("folder", "registry"),
    [
        ("docker.io", "docker.io"),
        ("reg.lab:5000", "reg.lab:5000"),
        ("reg.lab_5000_", "reg.lab:5000"),
        ("my_reg_5000_", "my_reg:5000"),
        ("_default", "_default"),
        ("odd_name_", "odd_name_"),
        ("_5000_", "_5000_"),
    ],
)
def test_which_registry_a_folder_is_for(folder: str, registry: str) -> None:
    assert registry_of(folder) == registry


# containerd's program


def program(folder: Path, script: str) -> ContainerdProgram:
    path = folder / "containerd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return ContainerdProgram(HostCommands(HostRoot()), path)


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
    missing = find_program(HostRoot(tmp_path), [Path("/usr/bin/containerd")])
    assert missing.path is None
    assert not missing.release().is_known
    assert not missing.require_accepted(Path("/c.toml"), "/certs")
    broken = ContainerdProgram(HostCommands(HostRoot()), tmp_path)
    assert not broken.release().is_known
    assert not broken.require_accepted(Path("/c.toml"), "/certs")


def test_what_containerd_says_about_its_configuration_counts(tmp_path: Path) -> None:
    text = 'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/certs"\n'
    asked = program(tmp_path, f"cat <<'E'\n{text}E")
    assert asked.require_accepted(Path("/c.toml"), "/certs")
    with pytest.raises(ContainerdRefused, match="'/certs'"):
        asked.require_accepted(Path("/c.toml"), "/other")
    with pytest.raises(ContainerdRefused, match="line 3"):
        program(tmp_path, "echo 'bad: line 3' >&2; exit 1").require_accepted(Path("/c.toml"), "/certs")


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    commands = HostCommands(HostRoot())
    assert commands.complaint(["true"]) == ""
    assert commands.complaint(["sh", "-c", "echo no >&2; false"]).endswith("no")
    assert "No such file" in commands.complaint([str(tmp_path / "none")])
    assert json.dumps(commands.complaint(["false"])).endswith('1"')
