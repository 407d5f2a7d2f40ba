"""In which file config_path is set, in which form, and where it is not for us to set."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from registryd.node.errors import ConfigConflict
from tests.node.nodes import CERTS, FolderNode, intent

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "etc/containerd/config.toml"
CONF_D = "etc/containerd/conf.d"
DROP_IN = f"{CONF_D}/zz-registryd.toml"
IMPORTS = 'imports = ["/etc/containerd/conf.d/*.toml"]\n'
OLD, NEW = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"
SET = {"registry": {"config_path": "/etc/containerd/certs.d"}}


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node")


def install(node: FolderNode, release: str, files: dict[str, str | None]) -> tuple[str, ...]:
    before = node.with_files(files).state()
    outcome = node.setup(release).install(intent())
    again = node.setup(release).install(intent())
    assert again.plan.changes == ()
    after = node.state()
    node.setup(release).uninstall()
    assert node.state() == before
    node.setup(release).install(intent())
    assert node.state().keys() == after.keys()
    return outcome.plan.notes


@pytest.mark.parametrize(
    ("main", "release", "version", "table"),
    [
        ("version = 2\n", "2.1.9", 2, OLD),
        ("version = 3\n", "2.1.9", 3, NEW),
        ("version = 4\n", "2.4.2", 4, NEW),
        ("version = 2\n", "2.4.2", 2, OLD),
        ("", "2.4.2", 3, NEW),
        ("", "2.1.9", None, NEW),
    ],
)
def test_a_drop_in_has_the_form_of_the_main_file(
    node: FolderNode, main: str, release: str, version: int | None, table: str
) -> None:
    install(node, release, {CONFIG: main + IMPORTS})
    found = tomllib.loads(node.text(DROP_IN))
    assert found.get("version") == version
    assert found["plugins"] == {table: SET}


def test_beside_another_version_a_drop_in_names_none(node: FolderNode) -> None:
    """It would take effect, and switch off the main file's settings for good."""
    nvidia = f"version = 3\n[plugins.'{NEW}']\ndisable_snapshot_annotations = true\n"
    own_path = f"[plugins.\"{OLD}\".registry]\nconfig_path = '/etc/containerd/certs.d'\n"
    files: dict[str, str | None] = {CONFIG: f"version = 2\n{IMPORTS}{own_path}", f"{CONF_D}/99-nvidia.toml": nvidia}
    notes = install(node, "2.1.9", files)
    assert tomllib.loads(node.text(DROP_IN)) == {"plugins": {NEW: SET}}
    assert any("passes over the settings of images in /etc/containerd/config.toml" in note for note in notes)


def test_since_2_3_such_a_mixture_needs_nothing(node: FolderNode) -> None:
    nvidia = f"version = 3\n[plugins.'{NEW}']\ndisable_snapshot_annotations = true\n"
    own_path = f"[plugins.\"{OLD}\".registry]\nconfig_path = '/etc/containerd/certs.d'\n"
    files: dict[str, str | None] = {CONFIG: f"version = 2\n{IMPORTS}{own_path}", f"{CONF_D}/99-nvidia.toml": nvidia}
    assert install(node, "2.3.7", files) == ()
    assert not (node.root / DROP_IN).exists()


@pytest.mark.parametrize("main", ["", "\n", "# nothing but a comment\n"])
@pytest.mark.parametrize(("release", "table"), [("1.6.20", "cri"), ("2.1.9", NEW), ("2.4.2", NEW)])
def test_an_empty_file_is_filled_and_empty_again(node: FolderNode, main: str, release: str, table: str) -> None:
    install(node, release, {CONFIG: main})
    found = tomllib.loads(node.text(CONFIG))
    expected = {OLD: SET} if table == "cri" and not main.strip() else {table: SET}
    assert found["plugins"] == expected


def test_conf_d_is_read_only_where_the_main_file_imports_it(node: FolderNode) -> None:
    other = f"version = 3\n[plugins.'{NEW}'.registry]\nconfig_path = '/elsewhere'\n"
    install(node, "2.4.2", {CONFIG: "version = 4\n", f"{CONF_D}/50.toml": other})
    assert tomllib.loads(node.text(CONFIG))["plugins"] == {NEW: SET}
    assert not (node.root / DROP_IN).exists()


def test_what_imported_files_import_counts_too(node: FolderNode) -> None:
    other = f"[plugins.'{NEW}'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"
    files: dict[str, str | None] = {
        CONFIG: f"version = 3\n{IMPORTS}",
        f"{CONF_D}/10.toml": 'imports = ["../more/*.toml", "10.toml"]\n',
        "etc/containerd/more/x.toml": other,
    }
    assert install(node, "2.4.2", files) == ()
    assert not (node.root / DROP_IN).exists()


def test_a_linked_file_imports_from_where_its_name_is(node: FolderNode) -> None:
    """Not from where the link leads (2.4.2)."""
    text = "version = 3\nimports = ['conf.d/*.toml']\n"
    node.with_files({"opt/c/config.toml": text, CONF_D: None})
    (node.root / CONFIG).symlink_to("/opt/c/config.toml")
    assert install(node, "2.4.2", {}) == ()
    assert "config_path" in node.text(DROP_IN)
    assert not (node.root / "opt/c/conf.d").exists()


def test_a_pattern_of_folders_is_no_place_for_a_file_of_ours(node: FolderNode) -> None:
    install(node, "2.4.2", {CONFIG: "version = 3\nimports = ['/etc/containerd/*/*.toml']\n"})
    assert "config_path" in node.text(CONFIG)


def test_one_path_with_a_colon_is_a_list_that_is_ignored(node: FolderNode) -> None:
    """Its other part is empty, and is not the root of the file system."""
    text = f'version = 3\n[plugins."{NEW}".registry]\nconfig_path = "/etc/a:"\n'
    install(node, "2.4.2", {CONFIG: text, "etc/a/x.lab/hosts.toml": "[host.'http://m']\n", "srv/x": ""})
    assert 'config_path = "/etc/a" ' in node.text(CONFIG)
    assert sorted(each.name for each in (node.root / "etc/a").iterdir()) == ["_default", "x.lab"]


def test_a_list_is_not_asked_for_where_it_is_ignored(node: FolderNode) -> None:
    node.with_files({CONFIG: "version = 3\n"})
    with pytest.raises(ConfigConflict, match="name one folder instead of /a:/b"):
        node.setup("2.4.2").install(intent(config_path="/a:/b"))


def test_a_list_that_counts_is_left(node: FolderNode) -> None:
    install(node, "2.4.2", {CONFIG: f"version = 3\n[plugins.'{NEW}']\nuse_local_image_pull = true\n"})
    assert "config_path" not in node.text(CONFIG)


@pytest.mark.parametrize("first", ["# Generated by nodeadm, do not edit\n", "# This file is managed by Ansible\n"])
def test_another_programs_file_is_not_changed_without_a_word(node: FolderNode, first: str) -> None:
    notes = install(node, "2.4.2", {CONFIG: f"{first}version = 4\n"})
    assert any("when that program writes it again, config_path is lost" in note for note in notes)


def test_a_drop_in_of_another_program_is_not_changed_without_a_word(node: FolderNode) -> None:
    nvidia = f'version = 2\n[plugins."{OLD}".containerd]\ndefault_runtime_name = "nvidia"\n'
    notes = install(node, "1.7.24", {CONFIG: f"version = 2\n{IMPORTS}", f"{CONF_D}/99-nvidia.toml": nvidia})
    assert "config_path" in node.text(f"{CONF_D}/99-nvidia.toml")
    assert any("99-nvidia.toml is another program's file" in note for note in notes)


# Distributions

K0S = "# k0s_managed=true\nversion = 2\nimports = ['/run/k0s/containerd-cri.toml']\n"


@pytest.mark.parametrize(("release", "version", "table"), [("1.7.24", 2, OLD), ("2.3.7", 3, NEW)])
def test_k0s_gets_a_file_in_its_folder(node: FolderNode, release: str, version: int, table: str) -> None:
    """What it has made of that folder so far says nothing of what it will make of it."""
    merged = f"version = {version}\n[plugins.'{table}'.registry]\nconfig_path = '/etc/k0s/containerd.d/certs.d'\n"
    files: dict[str, str | None] = {
        "etc/k0s/containerd.toml": K0S.replace("2", str(version)),
        "run/k0s/containerd-cri.toml": merged,
        "etc/k0s/containerd.d": None,
    }
    install(node, release, files)
    found = tomllib.loads(node.text("etc/k0s/containerd.d/zz-registryd.toml"))
    assert found["plugins"] == {table: {"registry": {"config_path": "/etc/k0s/containerd.d/certs.d"}}}
    assert (node.root / "etc/k0s/containerd.d/certs.d/_default/hosts.toml").exists()


def test_a_file_that_was_taken_from_k0s_is_the_operators(node: FolderNode) -> None:
    install(node, "2.3.7", {"etc/k0s/containerd.toml": "version = 3\n"})
    assert "config_path" in node.text("etc/k0s/containerd.toml")
    assert not (node.root / "etc/k0s/containerd.d/zz-registryd.toml").exists()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("var/lib/rancher/rke2/agent/etc/containerd/config.toml", r"config\.toml\.tmpl"),
        ("var/snap/microk8s/current/args/containerd.toml", r"containerd-template\.toml"),
    ],
)
def test_a_generated_file_is_not_changed(node: FolderNode, file: str, says: str) -> None:
    node.with_files({file: "version = 2\n"})
    before = node.state()
    with pytest.raises(ConfigConflict, match=says):
        node.setup("2.3.7").install(intent())
    assert node.state() == before


def test_a_generated_file_that_sets_the_path_needs_no_change(node: FolderNode) -> None:
    args = "var/snap/microk8s/current/args"
    text = f'version = 2\n[plugins."{OLD}".registry]\nconfig_path = "/{args}/certs.d"\n'
    install(node, "2.3.7", {f"{args}/containerd.toml": text})
    assert (node.root / args / "certs.d/_default/hosts.toml").exists()
    assert not (node.root / CERTS).exists()


def test_a_later_format_changes_nothing_and_one_line_says_so(node: FolderNode) -> None:
    node.with_files({CONFIG: f"version = 4\n{IMPORTS}", f"{CONF_D}/50.toml": "version = 5\n"})
    before = node.state()
    with pytest.raises(ConfigConflict, match=r"conf\.d/50\.toml is in version 5 of the format") as refused:
        node.setup("2.4.2").install(intent())
    assert "\n" not in str(refused.value)
    assert node.state() == before


@pytest.mark.parametrize("version", ["'2'", "-1", "true", "2.5", "[2]"])
def test_a_version_that_is_none(node: FolderNode, version: str) -> None:
    node.with_files({CONFIG: f"version = {version}\n"})
    with pytest.raises(ConfigConflict, match="is no version of the format"):
        node.setup("2.4.2").install(intent())
