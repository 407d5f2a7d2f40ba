"""The node's files as they are read: links below a root, globs, odd files."""

from __future__ import annotations

from pathlib import Path

import pytest

from registryd.node.errors import PathProblem
from registryd.node.host_root import HostRoot
from registryd.node.registry_folder import registry_of
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
    with pytest.raises(PathProblem, match=r"hosts\.toml is a folder"):
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
    assert matching(tree, Path("/?.toml")) == (Path("/?.toml"),)  # only an asterisk makes it a pattern


def test_a_pattern_may_name_folders(tmp_path: Path) -> None:
    for name in ("a.d/x.toml", "b.d/x.toml", "c/x.toml", "b.d/y.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = matching(NodeTree(HostRoot(tmp_path)), Path("/*.d/x.toml"))
    assert found == (Path("/a.d/x.toml"), Path("/b.d/x.toml"))


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
