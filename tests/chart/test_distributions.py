"""Values for ways to run Kubernetes: each renders, and its paths are those that node set-up knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from registryd.node import distribution
from tests.chart.conftest import CHART, Helm, variables_of

FILES = sorted((CHART / "distributions").glob("*.yaml"))
# What distribution.py calls them. It knows the others as plain, or not at all.
NAMES = {"k3s": "k3s", "rke2": "RKE2", "k0s": "k0s", "microk8s": "MicroK8s"}
KNOWN = {each.name: each for each in distribution._SPECIAL}


def test_there_is_one_for_each_that_the_documents_name() -> None:
    assert {path.stem for path in FILES} == {"k3s", "rke2", "k0s", "microk8s", "kind", "eks", "aks", "gke"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_paths_are_mounted_and_are_those_of_the_settings(helm: Helm, path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    rendered = helm.render(values)
    mounts = {mount["name"]: mount["mountPath"] for mount in rendered.agent["volumeMounts"]}
    given = {"HOST_IP": "10.1.2.3", "NODE_NAME": "node-a", "NODE_ZONE": ""}
    variables = variables_of(rendered.agent, given)
    assert mounts["hosts"] == variables["REGISTRYD_AUTHORIZATION_HOSTS_DIR"] == values["containerd"]["hostsDir"]
    assert Path(variables["REGISTRYD_STORE_CONTAINERD_SOCKET"]).parent == Path(mounts["containerd"])
    assert Path(mounts["content"]).parent == Path(variables["REGISTRYD_STORE_CONTAINERD_ROOT"])


@pytest.mark.parametrize("path", [path for path in FILES if NAMES.get(path.stem) in KNOWN], ids=lambda path: path.stem)
def test_the_folder_of_hosts_is_where_node_set_up_writes(path: Path) -> None:
    known = KNOWN[NAMES[path.stem]]
    assert Path(yaml.safe_load(path.read_text())["containerd"]["hostsDir"]) == known.hosts
