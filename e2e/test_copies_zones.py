"""Copies over the zones that Kubernetes tells, with real containerds: one in each, also after a node is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.api_server import api_server_in
from e2e.test_copies import DELAY, wait_kept
from e2e.test_kubernetes_discovery import TOKEN, as_in_a_pod
from lab.agent import AGENT
from lab.cluster import NodePlan, running_cluster
from tests.fakes.endpoint_slices import NAMESPACE, PORT_NAME, SERVICE, Pod, put_slice

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(400)

_ZONES = ("a", "a", "a", "b", "b")


async def test_a_copy_is_in_each_of_two_zones(newest: Release, image: Image, tmp_path: Path) -> None:
    images: Table = {"keep": ["origin.lab/demo/* copies=2 zones=2"], "keep_delay": f"{DELAY}s", "keep_max_disk": 99}
    discovery: Table = {"kind": "kubernetes", "service_name": SERVICE, "port_name": PORT_NAME}
    (tmp_path / "peers").write_text("")
    alone: Table = {"discovery": {"kind": "file", "file": str(tmp_path / "peers")}, "images": images}
    plans = [NodePlan(newest, agent=alone)] * len(_ZONES)
    async with (
        running_cluster(plans, are_acquainted=False) as cluster,
        api_server_in(
            cluster.origin_host.namespace,
            cluster.origin_host.ipv4,
            tmp_path / "account",
            token=TOKEN,
            namespace=NAMESPACE,
        ) as server,
    ):
        zones = {node.host.ipv4: zone for node, zone in zip(cluster.nodes, _ZONES, strict=True)}
        put_slice(server.cluster, "slice", *(Pod(ip, f"node-{ip}", zone) for ip, zone in zones.items()))
        for node in cluster.nodes:
            assert node.agent
            node.agent.settings = {**node.agent.settings, "discovery": discovery}
            node.agent.program = as_in_a_pod(tmp_path / "account", server.url, AGENT)
            await node.agent.restart()
        await cluster.wait_acquainted()

        def are_in_both(found: list[Node]) -> bool:
            return {zones[node.host.ipv4] for node in found} == {"a", "b"}

        # Three nodes of one zone have it: two copies there are not enough, and a node of the other zone takes one.
        reference = await cluster.push(image, "demo/app")
        for node in cluster.nodes[:3]:
            await node.pull(reference)
        found = await wait_kept(list(cluster.nodes), reference, 2, are_in_both)

        # The only copy of that zone is lost: the other node there takes it, though others have the image.
        (lost,) = [node for node in found if zones[node.host.ipv4] == "b"]
        assert lost.agent
        await lost.agent.kill()
        await lost.containerd.kill()
        found = await wait_kept([node for node in cluster.nodes if node is not lost], reference, 2, are_in_both)
        print(f"\nkept in zones {sorted(zones[node.host.ipv4] for node in found)}")
