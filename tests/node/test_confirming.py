"""What the containerd that runs says to what was done, where only its socket can be seen."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registryd.node.distribution import PLAIN
from registryd.node.errors import ConfigConflict
from registryd.node.facts import Containerd
from registryd.node.host_root import HostRoot
from registryd.node.setup import NodeSetup
from registryd.store.containerd.introspection import Introspection
from tests.node.nodes import CERTS, CONFIG_V3, FolderNode, intent
from tests.node.test_facts import containerds

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "etc/containerd/config.toml"
HERE = "/etc/containerd/certs.d"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FolderNode]:
    """Its containerd has started a while ago, and its files were written before that."""
    node = FolderNode(tmp_path / "node").with_files({CONFIG: "version = 4\n", CERTS: None})
    with containerds(node.root, str(PLAIN.socket)):
        written(node, seconds_ago=60)
        os.utime(node.root / str(PLAIN.socket)[1:], (time.time() - 30,) * 2)
        yield node


def written(node: FolderNode, *, seconds_ago: float) -> None:
    for path in (node.root / CONFIG, (node.root / CONFIG).parent):
        os.utime(path, (time.time() - seconds_ago,) * 2)


def setup(node: FolderNode, uses: str | None, *, config: Path | None = None) -> NodeSetup:
    told = Introspection("2.4.2" if uses is not None else "2.3.7", has_cri=True, config_path=uses)
    return NodeSetup(HostRoot(node.root), containerd=Containerd(config=config), ask=lambda *_: told)


def test_the_file_that_is_changed_is_said_to_be_a_guess(node: FolderNode) -> None:
    outcome = setup(node, None).install(intent(config_path=HERE))
    assert [note for note in outcome.plan.notes if "cannot be seen from here" in note]
    assert outcome.restart_due
    assert not setup(node, None).install(intent(config_path=HERE)).plan.notes


def test_one_that_uses_what_no_file_says_was_started_with_another(node: FolderNode) -> None:
    before = node.state()
    with pytest.raises(ConfigConflict, match="in /srv/certs, which is not of /etc/containerd/config"):
        setup(node, "/srv/certs").install(intent(config_path=HERE))
    assert node.state() == before
    named = setup(node, "/srv/certs", config=Path("/etc/containerd/config.toml"))
    assert named.install(intent(config_path=HERE)).restart_due


def test_or_has_not_read_it_yet(node: FolderNode) -> None:
    os.utime(node.root / CONFIG)
    assert setup(node, "/srv/certs").preview_install(intent(config_path=HERE)).restart_due


def test_nor_that_a_file_is_gone(node: FolderNode) -> None:
    os.utime((node.root / CONFIG).parent)
    assert setup(node, "/srv/certs").preview_install(intent(config_path=HERE)).restart_due


def test_where_nothing_is_to_be_changed_what_is_in_use_counts_all_the_same(node: FolderNode) -> None:
    (node.root / CONFIG).write_text(CONFIG_V3)
    config = Path("/etc/containerd/config.toml")
    assert setup(node, "/srv/certs", config=config).install(intent()).restart_due
    written(node, seconds_ago=60)
    assert not setup(node, HERE).install(intent()).restart_due
    with pytest.raises(ConfigConflict, match="restart it if its files have changed"):
        setup(node, "/srv/certs").install(intent())
