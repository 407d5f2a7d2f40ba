"""Which policy a kubelet has, by its process and by its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registryd.node.host_root import HostRoot
from registryd.node.kubelet import Kubelet, find_kubelet
from registryd.node.tree import NodeTree
from tests.node.test_process import add_process

FIELD = "imagePullCredentialsVerificationPolicy"
KUBEADM = Path("/var/lib/kubelet/config.yaml")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path


def write(node: Path, path: Path, text: str) -> None:
    here = node / path.relative_to("/")
    here.parent.mkdir(parents=True, exist_ok=True)
    here.write_text(text)


def found(node: Path) -> Kubelet | None:
    root = HostRoot(node)
    return find_kubelet(root, NodeTree(root))


def test_a_node_without_one(node: Path) -> None:
    assert found(node) is None


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("kind: KubeletConfiguration\n", ""),
        (f"kind: KubeletConfiguration\n{FIELD}: AlwaysVerify\n", "AlwaysVerify"),
        (f'{FIELD}: "NeverVerify"  # why\n', "NeverVerify"),
        (f"# {FIELD}: AlwaysVerify\nother:\n  {FIELD}: AlwaysVerify\n", ""),
        (json.dumps({FIELD: "AlwaysVerify"}), "AlwaysVerify"),
        (json.dumps({"kind": "KubeletConfiguration"}), ""),
        (json.dumps({FIELD: None}), ""),
        ('{"kind": ', ""),
    ],
)
def test_what_its_configuration_says(node: Path, text: str, policy: str) -> None:
    write(node, KUBEADM, text)
    assert found(node) == Kubelet(KUBEADM, policy)


def test_the_file_with_which_the_process_was_started_counts(node: Path) -> None:
    write(node, KUBEADM, f"{FIELD}: NeverVerify\n")
    write(node, Path("/srv/kubelet.json"), json.dumps({FIELD: "AlwaysVerify"}))
    add_process(node, 7, "kubelet", "--config=/srv/kubelet.json", name="kubelet")
    assert found(node) == Kubelet(Path("/srv/kubelet.json"), "AlwaysVerify")


def test_drop_ins_are_merged_over_the_file_in_order(node: Path) -> None:
    folder = Path("/etc/kubelet.d")
    write(node, KUBEADM, f"{FIELD}: NeverVerify\n")
    write(node, folder / "10-a.conf", f"{FIELD}: AlwaysVerify\n")
    write(node, folder / "20-b.conf", "kind: KubeletConfiguration\n")
    write(node, folder / "30-c.off", f"{FIELD}: NeverVerify\n")
    add_process(node, 7, "kubelet", "--config", str(KUBEADM), f"--config-dir={folder}", name="kubelet")
    assert found(node) == Kubelet(folder / "10-a.conf", "AlwaysVerify")


def test_one_of_which_only_the_process_is_seen(node: Path) -> None:
    add_process(node, 7, "kubelet", name="kubelet")
    assert found(node) == Kubelet(None, "")


def test_k3s_has_a_folder_of_drop_ins(node: Path) -> None:
    path = Path("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf")
    write(node, path, f"{FIELD}: AlwaysVerify\n")
    assert found(node) == Kubelet(path, "AlwaysVerify")


@pytest.mark.parametrize(
    ("policy", "verifies"),
    [
        ("", False),
        ("NeverVerify", False),
        ("NeverVerifyPreloadedImages", False),
        ("NeverVerifyAllowlistedImages", True),
        ("AlwaysVerify", True),
    ],
)
def test_who_verifies_what_came_past_it(policy: str, *, verifies: bool) -> None:
    assert Kubelet(None, policy).verifies_all is verifies
