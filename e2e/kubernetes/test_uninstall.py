"""The release goes, and what it leaves behind: nothing; or, on a node that does not answer, what can be understood."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.stage import CHECKOUT
from lab.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "Removal"
# What kubelet, containerd and the container runtime write all the time.
_OTHERS = ("var/lib/kubelet", "var/lib/containerd", "var/lib/cni", "var/log", "etc/kubernetes")
LOGS = "kubectl -n kube-system logs job/registryd-removal"
SELECTOR = "app.kubernetes.io/instance=registryd,app.kubernetes.io/component=removal"
PODS = f"kubectl -n kube-system get pods -o wide -l {SELECTOR}"


def files_of(node: Node) -> dict[str, tuple[int, bytes]]:
    """What the node has written itself below /etc, /opt, /usr/local and /var: modes, and the content of files."""
    top = node.machine.folder / "files"
    found = {}
    for path in top.rglob("*"):
        name = str(path.relative_to(top))
        if not name.startswith(_OTHERS) and name not in {"var", "var/lib"}:
            found[name] = (path.lstat().st_mode, content_of(path))
    return found


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


async def test_every_file_is_as_it_was(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.uninstall()
    before = {node.name: files_of(node) for node in stage.nodes}
    await stage.install()
    changed = {
        name for node in stage.nodes for name, value in files_of(node).items() if before[node.name].get(name) != value
    }
    assert "etc/containerd/certs.d/public.lab/hosts.toml" in changed
    began = time.monotonic()
    await stage.uninstall()
    seconds = time.monotonic() - began
    assert {node.name: files_of(node) for node in stage.nodes} == before
    await stage.cluster.kubectl.until(lambda: is_nothing_left(stage), what="all objects are gone")
    seen(
        TABLE,
        what="`helm uninstall`",
        seen=f"{len(changed)} files and folders of three nodes are as they were, byte for byte; no object is left",
        seconds=f"{seconds:.0f}",
    )


async def is_nothing_left(stage: Stage) -> bool:
    """Agents that end have their grace."""
    left = await stage.cluster.kubectl("-n", "kube-system", "get", "all,secret,sa,role,rolebinding,cm", "-o", "name")
    return "registryd" not in left


@pytest.mark.long
async def test_a_kubelet_that_is_dead(stage: Stage, seen: Callable[..., None]) -> None:
    document = (CHECKOUT / "docs/kubernetes.md").read_text()
    await stage.uninstall()
    before = {node.name: files_of(node) for node in stage.nodes}
    await stage.install("--set", "nodeSetup.removalTimeoutSeconds=60")
    dead = stage.nodes[2]
    await dead.processes.pop("kubelet").kill()
    await stage.cluster.wait_dead(dead)
    began = time.monotonic()
    with pytest.raises(CommandError):
        await stage.uninstall()
    seconds = time.monotonic() - began
    assert LOGS in document
    assert PODS in document
    pods = await stage.shell(PODS)
    said = await stage.shell(LOGS)
    (line,) = [line for line in said.splitlines() if line.startswith(f"  {dead.name}: ")]
    assert [line.split()[2] for line in pods.splitlines() if dead.name in line] == ["Pending"]
    # The other nodes are clean, and the agents go on.
    assert all(files_of(node) == before[node.name] for node in stage.nodes[:2])
    await dead.start_kubelet()
    await stage.cluster.wait_ready(dead)
    await stage.uninstall()
    assert {node.name: files_of(node) for node in stage.nodes} == before
    seen(
        TABLE,
        what="`helm uninstall` with a dead kubelet",
        seen=f"fails; the job's log: “{line.strip()}”; the node's pod is Pending. Once it is back, nothing is left",
        seconds=f"{seconds:.0f}",
    )


async def test_pod_security_that_forbids_the_pods(stage: Stage, seen: Callable[..., None]) -> None:
    await stage.uninstall()
    for level in ("baseline", "restricted"):
        namespace = f"images-{level}"
        labels = {"pod-security.kubernetes.io/enforce": level}
        await stage.cluster.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        )
        with pytest.raises(CommandError, match=f'enforces Pod Security "{level}"') as refusal:
            await stage.shell(f"helm install registryd charts/registryd --namespace {namespace}")
        assert "kube-system" in str(refusal.value)
    seen(
        TABLE,
        what="`helm install` where Pod Security is baseline or restricted",
        seen="fails, with a line that says so",
    )
