"""What is ours and in no record: found by our mark, put right as far as can be known, and said."""

from __future__ import annotations

import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.node.nodes import CERTS, CONFIG_V2, URL, FolderNode, intent

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.setup import SetupOutcome

HOSTS = '# mine\n[host."https://a.lab"]\n  capabilities = ["pull"]\n'
RECORD = "var/lib/registryd/node/record.json"
CONFIG = "etc/containerd/config.toml"


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node").with_files(
        {CONFIG: CONFIG_V2, f"{CERTS}/a.lab/hosts.toml": HOSTS, f"{CERTS}/empty.lab": None}
    )


def uninstall(node: FolderNode) -> SetupOutcome:
    outcome = node.setup().uninstall()
    assert outcome
    return outcome


def test_a_copy_becomes_what_the_original_was(node: FolderNode) -> None:
    """The configuration leads to a copy of the folder since, as a snap's does after a refresh."""
    node.setup().install(intent())
    shutil.copytree(node.root / CERTS, node.root / "srv/certs.d")
    (node.root / CONFIG).write_text(CONFIG_V2.replace("/etc/containerd/certs.d", "/srv/certs.d"))
    outcome = uninstall(node)
    for folder in (CERTS, "srv/certs.d"):
        assert node.text(f"{folder}/a.lab/hosts.toml") == HOSTS
        assert not (node.root / folder / "_default").exists()
        assert not (node.root / folder / "empty.lab/hosts.toml").exists()
    said = [note for note in outcome.plan.notes if "has our mark and is in no record" in note]
    assert len(said) == 3
    assert all(note.startswith("/srv/certs.d/") for note in said)


def test_an_install_takes_copies_for_what_they_are(node: FolderNode) -> None:
    node.setup().install(intent())
    shutil.copytree(node.root / CERTS, node.root / "srv/certs.d")
    (node.root / CONFIG).write_text(CONFIG_V2.replace("/etc/containerd/certs.d", "/srv/certs.d"))
    node.setup().install(intent())
    assert node.text("srv/certs.d/a.lab/hosts.toml").count(URL) == 1
    assert node.hosts("a.lab") == HOSTS  # nobody looks there any more
    uninstall(node)
    assert node.text("srv/certs.d/a.lab/hosts.toml") == HOSTS


def test_a_folder_without_us_goes_with_our_file(node: FolderNode) -> None:
    """Empty, it would hide `_default`."""
    node.setup().install(intent(registries=("new.lab",)))
    (node.root / RECORD).unlink()
    uninstall(node)
    assert not (node.root / CERTS / "new.lab").exists()


def test_folders_of_distributions_are_looked_at_too(node: FolderNode) -> None:
    text = f'# registryd: this node\'s mirror, asked first. `registryd uninstall` takes it out.\n[host."{URL}"]\n'
    other = "var/lib/rancher/k3s/agent/etc/containerd/certs.d/a.lab/hosts.toml"
    node.with_files({other: text + HOSTS, f"{CERTS}/no-toml.lab/hosts.toml": text + "[host"})
    uninstall(node)
    assert node.text(other) == HOSTS
    assert "no-toml" not in str(node.setup().uninstall())


def test_a_config_path_of_ours_without_its_record_is_unset_and_said(node: FolderNode) -> None:
    (node.root / CONFIG).write_text("version = 2\n# mine\n")
    node.setup().install(intent())
    (node.root / RECORD).unlink()
    outcome = uninstall(node)
    assert tomllib.loads(node.text(CONFIG)) == {"version": 2}
    assert "# mine" in node.text(CONFIG)
    assert any("is not known: it is not set now" in note for note in outcome.plan.notes)


def test_a_drop_in_of_ours_without_its_record_goes(node: FolderNode) -> None:
    (node.root / CONFIG).write_text('version = 3\nimports = ["conf.d/*.toml"]\n')
    before = node.state()
    node.setup("2.3.7").install(intent())
    (node.root / RECORD).unlink()
    node.setup("2.3.7").uninstall()
    assert not (node.root / "etc/containerd/conf.d/zz-registryd.toml").exists()
    assert set(node.state()) - set(before) <= {"etc/containerd/conf.d"}


def test_a_configuration_of_theirs_stays_though_nothing_else_is_in_it(node: FolderNode) -> None:
    """containerd may have been started with it, and does not start without."""
    (node.root / CONFIG).write_text("version = 2\n")
    node.setup().install(intent())
    (node.root / RECORD).unlink()
    uninstall(node)
    assert tomllib.loads(node.text(CONFIG)) == {"version": 2}


def test_a_node_without_anything_of_ours_has_nothing_to_take_back(node: FolderNode) -> None:
    assert node.setup().uninstall() is None
