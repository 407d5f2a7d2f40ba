"""Two releases of the chart on one node: the second one leaves what is the first one's, and says so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from registryd.node.errors import OfAnother
from tests.node.nodes import CONFIG_V2, FolderNode, intent

if TYPE_CHECKING:
    from pathlib import Path

    from registryd.node.setup import NodeSetup

RECORD = "var/lib/registryd/node/record.json"


@pytest.fixture
def node(tmp_path: Path) -> FolderNode:
    return FolderNode(tmp_path / "node").with_files({"etc/containerd/config.toml": CONFIG_V2})


def setup_of(node: FolderNode, owner: str, *, takes_over: bool = False) -> NodeSetup:
    return replace(node.setup(), owner=owner, takes_over=takes_over)


def owner_of(node: FolderNode) -> str:
    return str(json.loads(node.text(RECORD))["owner"])


def test_a_second_release_neither_changes_nor_undoes_the_first_ones_set_up(node: FolderNode) -> None:
    bare = node.state()
    setup_of(node, "kube-system/first").install(intent())
    before = node.state()
    second = setup_of(node, "images/second")
    named = "for the release kube-system/first, not for images/second"
    with pytest.raises(OfAnother, match=f"{named}: .*--take-over.*{RECORD}"):
        second.install(intent(has_token=True))
    with pytest.raises(OfAnother, match=named):
        second.preview_install(intent())
    with pytest.raises(OfAnother, match=f"{named}: nothing was undone"):
        second.uninstall()
    with pytest.raises(OfAnother, match=named):
        second.preview_uninstall()
    assert node.state() == before
    setup_of(node, "kube-system/first").uninstall()
    assert node.state() == bare
    second.install(intent())
    assert owner_of(node) == "images/second"


def test_a_release_takes_over_what_nobody_owns_or_what_it_is_told_to(node: FolderNode) -> None:
    node.setup().install(intent())
    for owner, takes_over in (("kube-system/first", False), ("images/second", True)):
        outcome = setup_of(node, owner, takes_over=takes_over).install(intent())
        assert outcome.plan.changes == ()
        assert owner_of(node) == owner
    setup_of(node, "images/second").uninstall()
    assert not (node.root / RECORD).exists()


def test_whoever_says_no_name_is_the_nodes_own_operator(node: FolderNode) -> None:
    bare = node.state()
    setup_of(node, "kube-system/first").install(intent())
    node.setup().install(intent(has_token=True))
    assert owner_of(node) == "kube-system/first"
    node.setup().uninstall()
    assert node.state() == bare


def test_the_record_of_an_older_registryd_has_no_owner(node: FolderNode) -> None:
    node.setup().install(intent())
    record = json.loads(node.text(RECORD))
    del record["owner"]
    (node.root / RECORD).write_text(json.dumps(record))
    setup_of(node, "kube-system/first").install(intent())
    assert owner_of(node) == "kube-system/first"
