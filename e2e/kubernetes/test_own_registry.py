"""The agents' own image, pushed to a registry of a company and installed from there: the last of the story."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.stage import CHECKOUT
from e2e.kubernetes.test_install import INSTALL, LOOKS
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

EXAMPLE = "registry.example"
PUSH = f"skopeo copy --all oci-archive:registryd.tar docker://{EXAMPLE}/registryd:{VERSION}"
FROM_THERE = f"{INSTALL} --set image.repository={EXAMPLE}/registryd"
LOADED = f"ghcr.io/registryd/registryd:{VERSION}"
AGENTS = "app.kubernetes.io/component=agent"


async def test_word_for_word(stage: Stage, seen: Callable[..., None]) -> None:
    """From a machine that trusts the company's authority, to nodes that have never had the image.

    Afterwards kubelets have a record of the image, by its digest and for this repository only. Under the name that it
    was loaded by they would pull it again.
    """
    document = (CHECKOUT / "docs/kubernetes.md").read_text()
    assert all(command in document for command in (PUSH, FROM_THERE))
    await stage.uninstall()
    for node in stage.nodes:
        await node.images.remove(LOADED)
    registry = stage.registries["public"]
    archive = await stage.archive()
    pushing = stage.nodes[0]
    pushing.machine.write(f"/etc/containers/certs.d/{registry.name}/ca.crt", stage.authority.certificate.read_text())
    began = time.monotonic()
    await pushing.run("sh", "-c", f"cd {archive.parent} && {PUSH.replace(EXAMPLE, registry.name)}")
    pushed = time.monotonic() - began
    began = time.monotonic()
    stage.installed = (FROM_THERE,)
    await stage.shell(FROM_THERE.replace(EXAMPLE, registry.name))
    await stage.shell(LOOKS[0])
    ready = time.monotonic() - began
    pods = await stage.cluster.kubectl.find("pods", namespace="kube-system", selector=AGENTS)
    images = {status["image"] for pod in pods for status in pod["status"]["containerStatuses"]}
    assert images == {f"{registry.name}/registryd:{VERSION}"}
    await stage.wait_acquainted()
    await stage.uninstall()
    seen("Installation", what="`skopeo copy --all` to a registry, both architectures", seconds=f"{pushed:.0f}")
    what = "`helm install --set image.repository=…` until the agents of three nodes are ready"
    seen("Installation", what=what, seconds=f"{ready:.0f}")
