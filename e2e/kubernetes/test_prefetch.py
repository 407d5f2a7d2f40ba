"""Images that are brought to nodes before pods need them, and who may use them then: the kubelet checks (KEP-2535)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.lab.pods import pull_secret
from e2e.kubernetes.lab.registry import TENANT
from e2e.kubernetes.private import make_secrets
from e2e.kubernetes.program import registryd
from e2e.kubernetes.stage import NAMESPACE
from lab.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "Prefetched private images"
WAIT = "kubectl -n kube-system rollout status daemonset/registryd-prefetch --timeout=180s"


async def prefetch(stage: Stage, reference: str, **values: object) -> None:
    """Install with this image to be brought to all nodes, and wait for it."""
    registry = stage.registries["private"].name
    await stage.cluster.kubectl.apply(pull_secret("logins", registry, TENANT, namespace=NAMESPACE))
    await make_secrets(stage)
    settings = {"images": [reference], "dockerConfigSecret": "logins", **values}
    # A file for each: it is the options that tell the stage one installation from another.
    path = stage.folder / f"{reference.rpartition('/')[2].partition(':')[0]}.json"
    path.write_text(json.dumps({"prefetch": settings}))  # every JSON document is YAML too
    await stage.install("--values", str(path))
    await stage.shell(WAIT)


async def test_by_the_kubelet_pods_are_asked_for_secrets(stage: Stage, seen: Callable[..., None]) -> None:
    reference, image = await stage.image("private", "team/prefetched-by-kubelet")
    registry = stage.registries["private"]
    await prefetch(stage, reference, by="kubelet")
    copies = sum(
        each.sent for each in registry.requests() if each.is_blob_transfer and image_has(image, each.reference)
    )
    for node in stage.nodes:
        before = len(registry.requests(of=node.host))
        outcomes = [await stage.pod(node, reference, secret=secret) for secret in ("own", "", "wrong")]
        assert [outcome.runs for outcome in outcomes] == [True, False, False]
        asked = len(registry.requests(of=node.host)) - before
        for secret, outcome in zip(("own", "none", "wrong"), outcomes, strict=True):
            seen(TABLE, brought_by="kubelet", policy="default", node=node.name, secret=secret, pod=outcome)
        assert asked == 0
    whole = sum(layer.size for layer in image.local.layers)
    seen(
        TABLE,
        brought_by="kubelet",
        policy="",
        node="all",
        secret="",
        pod=f"{copies / whole:.2f} copies from the registry",
    )


def image_has(image: object, digest: str) -> bool:
    return digest in image.digests  # type: ignore[attr-defined]


async def test_by_the_agent_every_pod_may_use_it_unless_kubelets_verify(
    stage: Stage, seen: Callable[..., None]
) -> None:
    reference, _ = await stage.image("private", "team/prefetched-by-agent")
    await prefetch(stage, reference, by="agent", forEveryPod=True)
    node = stage.nodes[0]
    outcome = await stage.pod(node, reference)
    seen(TABLE, brought_by="agent", policy="NeverVerifyPreloadedImages", node=node.name, secret="none", pod=outcome)
    assert outcome.runs, "the kubelet has changed: docs, values and NOTES say that every pod may use it"

    asked = ("prefetch", "--into", "containerd", "--images", "/dev/null", "--docker-config", "/etc/kubernetes/none")
    with pytest.raises(CommandError, match=r"kubelet\.json: not set.*--for-every-pod"):
        await registryd(node, *asked)

    other, _ = await stage.image("private", "team/prefetched-and-verified")
    await prefetch(stage, other, by="agent", forEveryPod=True)
    await node.processes.pop("kubelet").stop()
    await node.start_kubelet(imagePullCredentialsVerificationPolicy="AlwaysVerify")
    await stage.cluster.wait_ready(node)
    try:
        outcomes = [await stage.pod(node, other, secret=secret) for secret in ("", "wrong", "own")]
        with pytest.raises(CommandError, match="names no images"):  # and no word of pods
            await registryd(node, *asked)
        findings = json.loads(await registryd(node, "doctor", "--json"))["findings"]
    finally:
        await node.processes.pop("kubelet").stop()
        await node.start_kubelet()
        await stage.cluster.wait_ready(node)
    for secret, outcome in zip(("none", "wrong", "own"), outcomes, strict=True):
        seen(TABLE, brought_by="agent", policy="AlwaysVerify", node=node.name, secret=secret, pod=outcome)
    assert [outcome.runs for outcome in outcomes] == [False, False, True]
    (policy,) = [each["found"] for each in findings if each["name"] == "kubelet"]
    assert "AlwaysVerify" in policy
    await stage.install()
