"""The cache as a pod with a volume: a member of the agents' cluster, and the nodes' next endpoint."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from e2e.kubernetes.program import registryd
from e2e.kubernetes.stage import CHECKOUT, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kubernetes.lab.kubectl import Object
    from e2e.kubernetes.lab.node import Node
    from e2e.kubernetes.stage import Stage
    from lab.images import Image

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

TABLE = "A cache"
UPGRADE = "helm upgrade registryd charts/registryd -n kube-system --reset-then-reuse-values"
ENABLE = f"{UPGRADE} --set cache.enabled=true --set cache.persistence.size=200Gi"
ROLLED_OUT = "kubectl -n kube-system rollout status deployment/registryd-cache --timeout=180s"
AGENTS_ROLLED_OUT = "kubectl -n kube-system rollout status daemonset/registryd --timeout=180s"
ADDRESS = "10.96.0.77"
FOLDER = "/var/lib/cache-volume"


def volume(node: Node) -> Object:
    """What a storage class would make: a folder of a node. Its owner is root until a pod's fsGroup changes that."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "cache-volume"},
        "spec": {
            "capacity": {"storage": "200Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": FOLDER},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


async def write_values(stage: Stage) -> str:
    """A file of values: the registry as the cache is told of it, whose pod knows no names of this company."""
    registry = stage.registries["public"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "company", "namespace": NAMESPACE}}
    await stage.cluster.kubectl.apply({**secret, "stringData": {"ca.crt": stage.authority.certificate.read_text()}})
    of_it = {"url": f"https://{registry.host.ipv4}", "ca": "/etc/registryd/upstreams/ca.crt"}
    upstreams = {"registries": {registry.name: of_it}, "filesSecret": "company"}
    path = stage.folder / "cache.json"
    path.write_text(json.dumps({"cache": {"upstreams": upstreams, "service": {"clusterIP": ADDRESS}}}))
    return str(path)


async def test_a_cache_with_a_volume(stage: Stage, seen: Callable[..., None]) -> None:
    assert ENABLE in (CHECKOUT / "docs/kubernetes.md").read_text()
    holder = stage.nodes[1]
    await holder.run("mkdir", "-p", FOLDER)
    await stage.cluster.kubectl.apply(volume(holder))
    await stage.install("--values", await write_values(stage))
    stage.caches = 1
    try:
        began = time.monotonic()
        await stage.shell(ENABLE)
        await stage.shell(ROLLED_OUT)
        await stage.wait_acquainted()
        what = "`helm upgrade … --set cache.enabled=true` until it is a member that all agents know"
        seen(TABLE, what=what, seconds=f"{time.monotonic() - began:.0f}")
        await gives_as_a_member(stage, seen)
        await stage.shell(f"{UPGRADE} --set cache.nextEndpoint.enabled=true")
        await stage.shell(AGENTS_ROLLED_OUT)
        await stage.wait_acquainted()
        assert all(ADDRESS in entry_of(stage, node) for node in stage.nodes)
        await gives_as_the_next_endpoint(stage, seen)
        await is_replaced(stage, seen)
    except Exception:
        print(await stage.cluster.kubectl("-n", NAMESPACE, "logs", "deployment/registryd-cache", "--tail=200"))
        raise
    finally:
        stage.caches = 0
        stage.installed = (ENABLE,)
        await stage.install()
        await stage.cluster.kubectl("delete", "pv/cache-volume", "--wait=false")
    assert all(ADDRESS not in entry_of(stage, node) for node in stage.nodes)
    seen(TABLE, what="the cache is disabled again", seen="no node's files name it")


def entry_of(stage: Stage, node: Node) -> str:
    return (node.machine.root / stage.entry_path("public").lstrip("/")).read_text()


async def gives_as_a_member(stage: Stage, seen: Callable[..., None]) -> None:
    """What was brought into it comes from it, and not from the registry."""
    reference, image = await stage.image("public", "cached/member")
    images = stage.folder / "cached.txt"
    images.write_text(f"{reference}\n")
    await registryd(stage.nodes[0], "prefetch", "--into", f"http://{ADDRESS}:3172", "--images", str(images))
    node = stage.nodes[2]
    before = await stage.from_peers(node)
    outcome = await stage.pod(node, reference)
    assert outcome.runs, outcome.message
    got = await stage.from_peers(node) - before
    assert got >= sum(layer.size for layer in image.local.layers)
    assert given(stage, image, to=node.host.ipv4) == 0
    what = "a pod's image that only the cache has, which `registryd prefetch` has filled"
    seen(TABLE, what=what, seen=f"{got / 1e6:.1f} MB from it, none from the registry", seconds=f"{outcome.seconds:.1f}")


async def gives_as_the_next_endpoint(stage: Stage, seen: Callable[..., None]) -> None:
    """What nobody has comes through it, once; and from it when the registry is off and no node has it any more."""
    reference, image = await stage.image("public", "cached/next", mib=32)
    whole = sum(layer.size for layer in image.local.layers)
    outcomes = await asyncio.gather(*(stage.pod(node, reference) for node in stage.nodes))
    assert all(outcome.runs for outcome in outcomes), outcomes
    of_nodes = sum(given(stage, image, to=node.host.ipv4) for node in stage.nodes)
    copies = given(stage, image) / whole
    what = "an image that nobody has, by pods on three nodes at once"
    seen(TABLE, what=what, seen=f"{copies:.2f} copies from the registry, {of_nodes / whole:.2f} of them to nodes")
    assert copies < 1.2
    assert of_nodes == 0
    await forget(stage, reference)
    await off_and_pull(stage, seen, reference, "the same, registry off, and no node has it any more")


async def forget(stage: Stage, reference: str) -> None:
    """No node has it any more. Its pods are gone, or about to."""
    await stage.cluster.kubectl.until(lambda: have_removed(stage, reference), what="no node has the image")


async def have_removed(stage: Stage, reference: str) -> bool:
    for node in stage.nodes:
        await node.images.remove(reference)
    tags = [await node.images.tags() for node in stage.nodes]
    return not any(reference in each for each in tags)


async def off_and_pull(stage: Stage, seen: Callable[..., None], reference: str, what: str) -> None:
    registry = stage.registries["public"]
    await registry.front.stop()
    try:
        outcomes = await asyncio.gather(*(stage.pod(node, reference) for node in stage.nodes))
    finally:
        await registry.front.start()
    assert all(outcome.runs for outcome in outcomes), outcomes
    seconds = f"{max(outcome.seconds for outcome in outcomes):.1f}"
    seen(TABLE, what=what, seen="runs on all three", seconds=seconds)


async def is_replaced(stage: Stage, seen: Callable[..., None]) -> None:
    """Its pod is deleted: pulls go past it meanwhile, and the next one has what it had."""
    kept, _ = await stage.image("public", "cached/kept")
    assert (await stage.pod(stage.nodes[0], kept)).runs
    await forget(stage, kept)
    fresh = [(await stage.image("public", f"cached/past-{number}"))[0] for number in range(len(stage.nodes))]
    selector = "app.kubernetes.io/component=cache"
    await stage.cluster.kubectl("-n", NAMESPACE, "delete", "pods", "-l", selector, "--wait=false")
    pulls = (stage.pod(node, reference) for node, reference in zip(stage.nodes, fresh, strict=True))
    outcomes = await asyncio.gather(*pulls)
    assert all(outcome.runs for outcome in outcomes), outcomes
    seen(TABLE, what="its pod is deleted while pods start", seen="all run")
    await stage.shell(ROLLED_OUT)
    await stage.wait_acquainted()
    await off_and_pull(stage, seen, kept, "what it had before, registry off, and no node has it")


def given(stage: Stage, image: Image, *, to: str = "") -> int:
    """Bytes of the image's blobs that the registry gave, to all or to one address."""
    asked = (each for each in stage.registries["public"].requests() if each.is_blob_transfer)
    return sum(each.sent for each in asked if each.reference in image.digests and to in {"", each.client})
