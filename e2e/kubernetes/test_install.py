"""The chart, installed as README and docs/kubernetes.md say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.stage import CHECKOUT, LOAD
from e2e.kubernetes.test_uninstall import LOGS, PODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

INSTALL = "helm install registryd charts/registryd --namespace kube-system"
LOOKS = (
    "kubectl -n kube-system rollout status daemonset/registryd",
    "kubectl -n kube-system logs daemonset/registryd -c install",
    "kubectl -n kube-system exec daemonset/registryd -c agent -- registryd status",
    "kubectl -n kube-system exec daemonset/registryd -c agent -- registryd doctor",
)


async def test_word_for_word(stage: Stage, seen: Callable[..., None]) -> None:
    document, readme = (CHECKOUT / "docs/kubernetes.md").read_text(), (CHECKOUT / "README.md").read_text()
    await stage.uninstall()
    began = time.monotonic()
    await stage.archive()
    made = time.monotonic() - began
    assert LOAD in document
    for node in stage.nodes:
        await stage.load(node)
    began = time.monotonic()
    assert INSTALL in document
    assert INSTALL in readme
    notes = await stage.shell(INSTALL)
    stage.installed = ()
    assert all(command in document for command in LOOKS)
    said = {LOOKS[0]: await stage.shell(LOOKS[0])}
    ready = time.monotonic() - began
    await stage.wait_acquainted()
    said |= {command: await stage.shell(command) for command in LOOKS[1:]}
    for command in (*LOOKS, LOGS, PODS):
        assert command in notes, command
    assert all(node.name in said[LOOKS[2]] for node in stage.nodes)
    print(said[LOOKS[3]])
    assert "✗" not in said[LOOKS[3]]
    seen("Installation", what="`./dev image`, both architectures", seconds=f"{made:.0f}")
    seen("Installation", what="`helm install` until the agents of three nodes are ready", seconds=f"{ready:.0f}")


async def test_helm_test(stage: Stage) -> None:
    command = "helm test registryd --namespace kube-system"
    assert command in (CHECKOUT / "docs/kubernetes.md").read_text()
    await stage.install()
    assert "tests passed" in await stage.shell(command)


async def test_an_agent_may_do_nothing_else(stage: Stage) -> None:
    """Than any account may, that nobody has given anything."""
    await stage.install()
    agents, anyone = await rights_of(stage, "registryd"), await rights_of(stage, "default")
    (added,) = agents - anyone
    assert added.split() == ["endpointslices.discovery.k8s.io", "[]", "[]", "[list", "watch]"]


async def rights_of(stage: Stage, account: str) -> set[str]:
    name = f"system:serviceaccount:kube-system:{account}"
    said = await stage.cluster.kubectl("auth", "can-i", "--list", "-n", "kube-system", "--as", name)
    return set(said.splitlines())
