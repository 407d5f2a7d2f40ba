"""Two releases of the chart whose agents come to the same node: their own commands, on a node that is a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.chart.conftest import NAMESPACE, variables_of
from tests.node.nodes import CERTS, CONFIG_V2, FolderNode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chart.conftest import Helm, Object

# Other ports, or the second release's pods would not be scheduled.
SECOND: Object = {"registry": {"port": 5001}, "peers": {"port": 5002, "contentPort": 5003}, "admin": {"port": 5004}}
GIVEN = {"HOST_IP": "10.0.0.1", "NODE_NAME": "node-a", "NODE_ZONE": ""}


def run(helm: Helm, node: FolderNode, release: str, values: Object, name: str) -> subprocess.CompletedProcess[str]:
    """An init container of the release, by its name."""
    rendered = helm.render_as(release, values)
    pods = [each["spec"]["template"]["spec"] for each in rendered.all("DaemonSet")]
    (container,) = [each for pod in pods for each in pod.get("initContainers", []) if each["name"] == name]
    arguments = [each.replace("--root=/host", f"--root={node.root}") for each in container["args"]]
    settings = variables_of(container, GIVEN) if "env" in container else {}
    command = [sys.executable, "-m", "registryd", *arguments, "--containerd-version=1.7.24"]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)


def test_the_second_takes_nothing_from_the_first_and_may_come_after_it(helm: Helm, tmp_path: Path) -> None:
    node = FolderNode(tmp_path / "node").with_files({"etc/containerd/config.toml": CONFIG_V2, CERTS: None})
    bare = node.state()
    assert run(helm, node, "first", {}, "install").returncode == 0
    before = node.state()
    refused = run(helm, node, "second", SECOND, "install")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert f"for the release {NAMESPACE}/first, not for {NAMESPACE}/second" in refused.stderr
    left = run(helm, node, "second", SECOND, "uninstall")
    assert (left.returncode, left.stdout.count("\n"), left.stderr) == (0, 1, "")
    assert node.state() == before
    assert run(helm, node, "first", {}, "uninstall").returncode == 0
    assert node.state() == bare
    assert run(helm, node, "second", SECOND, "install").returncode == 0
    assert "127.0.0.1:5001" in node.hosts("_default")
