"""What somebody changed after the install is theirs: an uninstall takes out our part, and only that."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from registryd.node.errors import RecordBroken
from registryd.node.hosts_file import hosts_in_order
from tests.node.nodes import CERTS, CONFIG_V2, URL, FolderNode, intent
from tests.node.zoo import ZOO

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = '# mine\n[host."https://a.lab"]\n  capabilities = ["pull"]\n'


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    files = {"etc/containerd/config.toml": "version = 2\n", f"{CERTS}/a.lab/hosts.toml": HOSTS}
    return FolderNode(tmp_path / "node").with_files(files)


def edit(node: FolderNode, name: str, addition: str) -> None:
    path = node.root / name
    path.write_text(path.read_text() + addition)


def test_their_hosts_and_comments_stay(node: FolderNode) -> None:
    node.setup().install(intent(has_token=True))
    edit(node, f"{CERTS}/a.lab/hosts.toml", '# added later\n[host."https://b.lab"]\n')
    outcome = node.setup().uninstall()
    assert outcome
    assert node.hosts("a.lab") == HOSTS + '# added later\n[host."https://b.lab"]\n'
    assert (node.root / CERTS / "a.lab/hosts.toml").stat().st_mode & 0o777 == 0o644
    assert any("changed since" in change.why for change in outcome.plan.changes)


def test_a_cache_goes_out_with_us(node: FolderNode) -> None:
    node.setup().install(intent(has_cache=True))
    edit(node, f"{CERTS}/a.lab/hosts.toml", '[host."https://b.lab"]\n')
    node.setup().uninstall()
    assert node.hosts("a.lab") == HOSTS + '[host."https://b.lab"]\n'


def test_a_cache_that_is_no_longer_wished_goes_and_we_stay(node: FolderNode) -> None:
    node.setup().install(intent(has_cache=True))
    edit(node, f"{CERTS}/a.lab/hosts.toml", '[host."https://b.lab"]\n')
    node.setup().install(intent())
    assert hosts_in_order(node.hosts("a.lab")) == [URL, "https://a.lab", "https://b.lab"]
    assert hosts_in_order(node.hosts("_default")) == [URL]


def test_a_file_of_ours_that_they_added_to_stays_with_what_is_theirs(node: FolderNode) -> None:
    node.setup().install(intent())
    edit(node, f"{CERTS}/_default/hosts.toml", '[host."https://b.lab"]\n')
    node.setup().uninstall()
    assert tomllib.loads(node.hosts("_default")) == {"host": {"https://b.lab": {}}}


def test_a_file_of_ours_that_they_only_touched_goes(node: FolderNode) -> None:
    node.setup().install(intent())
    edit(node, f"{CERTS}/_default/hosts.toml", "\n\n")
    node.setup().uninstall()
    assert not (node.root / CERTS / "_default").exists()


def test_a_file_that_they_removed_does_not_come_back(node: FolderNode) -> None:
    node.setup().install(intent())
    (node.root / CERTS / "a.lab/hosts.toml").unlink()
    node.setup().uninstall()
    assert not (node.root / CERTS / "a.lab/hosts.toml").exists()


def test_an_entry_that_they_rewrote_is_left_and_named(node: FolderNode) -> None:
    node.setup().install(intent())
    text = f'host = {{"{URL}" = {{capabilities = ["pull"]}}}}\n'
    (node.root / CERTS / "a.lab/hosts.toml").write_text(text)
    outcome = node.setup().uninstall()
    assert outcome
    assert node.hosts("a.lab") == text
    assert any("only a person" in note for note in outcome.plan.notes)


def test_a_file_that_they_wrote_anew_is_theirs(node: FolderNode) -> None:
    node.setup().install(intent())
    (node.root / CERTS / "a.lab/hosts.toml").write_text('server = "https://c.lab"\n')
    node.setup("2.1.9").uninstall()
    assert node.hosts("a.lab") == 'server = "https://c.lab"\n'


def test_an_install_after_their_change_takes_it_as_what_was_there(node: FolderNode) -> None:
    node.setup().install(intent())
    edit(node, f"{CERTS}/a.lab/hosts.toml", '[host."https://b.lab"]\n')
    node.setup().install(intent(has_token=True))
    assert "Registryd-Token" in node.hosts("a.lab")
    node.setup().uninstall()
    assert node.hosts("a.lab") == HOSTS + '[host."https://b.lab"]\n'


def test_config_path_is_set_back_in_a_file_that_has_changed(node: FolderNode) -> None:
    node.setup().install(intent())
    edit(node, "etc/containerd/config.toml", "[debug]\n  level = 'debug'\n")
    node.setup().uninstall()
    document = tomllib.loads(node.text("etc/containerd/config.toml"))
    assert document == {"version": 2, "debug": {"level": "debug"}}


def test_a_config_path_of_their_own_stays(node: FolderNode) -> None:
    node.setup().install(intent())
    text = CONFIG_V2.replace("/etc/containerd/certs.d", "/srv/certs.d")
    (node.root / "etc/containerd/config.toml").write_text(text)
    node.setup().uninstall()
    assert node.text("etc/containerd/config.toml") == text


def test_a_mode_of_their_own_stays(node: FolderNode) -> None:
    node.setup().install(intent(has_token=True))
    (node.root / CERTS / "a.lab/hosts.toml").chmod(0o640)
    node.setup().uninstall()
    assert node.hosts("a.lab") == HOSTS
    assert (node.root / CERTS / "a.lab/hosts.toml").stat().st_mode & 0o777 == 0o640


def test_a_folder_of_ours_with_something_of_theirs_in_it_stays(node: FolderNode) -> None:
    node.setup().install(intent())
    node.with_files({f"{CERTS}/_default/ca.crt": "theirs"})
    node.setup().uninstall()
    assert [path.name for path in (node.root / CERTS / "_default").iterdir()] == ["ca.crt"]


# Without the record


def test_without_its_record_our_entries_are_found_by_their_mark(node: FolderNode) -> None:
    node.setup().install(intent(has_token=True, has_cache=True))
    (node.root / "var/lib/registryd/node/record.json").unlink()
    node.setup().uninstall()
    assert node.hosts("a.lab") == HOSTS
    assert not (node.root / CERTS / "_default/hosts.toml").exists()
    assert not (node.root / "var/lib/registryd").exists()


def test_an_install_without_the_record_of_an_earlier_one_keeps_no_old_token(node: FolderNode) -> None:
    node.setup().install(intent(has_token=True))
    (node.root / "var/lib/registryd/node/record.json").unlink()
    node.setup().install(intent())
    node.setup().uninstall()
    assert node.hosts("a.lab") == HOSTS


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 99}', '{"format": 1, "entries": [{}]}'])
def test_a_record_that_cannot_be_read_stops_everything(node: FolderNode, text: str) -> None:
    node.with_files({"var/lib/registryd/node/record.json": text})
    before = node.state()
    for action in (node.setup().uninstall, lambda: node.setup().install(intent())):
        with pytest.raises(RecordBroken, match=r"move it away|that one's `uninstall`"):
            action()
    assert node.state() == before


def test_k3s_writes_its_file_again_and_nothing_of_ours_is_missed(tmp_path: Path) -> None:
    node = FolderNode(tmp_path / "k3s").with_files(ZOO["k3s"])
    outcome = node.setup().install(intent())
    assert any("written again" in note for note in outcome.plan.notes)
    path = "var/lib/rancher/k3s/agent/etc/containerd/certs.d/docker.io/hosts.toml"
    assert node.text(path).startswith("# File generated by k3s. DO NOT EDIT.\n")
    node.with_files(ZOO["k3s"])
    node.setup().uninstall()
    assert node.text(path) == ZOO["k3s"][path]
