"""The container image at work where the chart puts it: a real containerd runs it, another node pulls from it."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from helm_python import Chart

from containers.build import build
from registryd.lab.agent import ADMIN, PEERS_PORT, parse_metrics
from registryd.lab.cluster import ORIGIN, NodePlan, running_cluster
from registryd.lab.containerd import running_containerd
from registryd.lab.containerd_config import Options
from registryd.lab.errors import NotReadyError
from registryd.lab.fetch import fetch
from registryd.lab.versions import obtain
from registryd.version import installed_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from registryd.lab.agent import Metrics
    from registryd.lab.cluster import Node
    from registryd.lab.images import Image
    from registryd.lab.versions import Release

# Building takes a minute and a half when nothing is cached, some seconds when Debian's and PyPI's parts are.
pytestmark = pytest.mark.timeout(300)

CHART = Path(__file__).parents[1] / "charts" / "registryd"
REFERENCE = "registryd.lab/registryd:v1"
NAME = "registryd"
# What containerd gives a container by itself (oci.defaultUnixCaps); the chart drops them all.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
    *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)


@pytest.fixture(scope="module")
def runner() -> Release:
    """One version, because what runs the container is runc in all of them; before 1.7, ctr has no --user."""
    return asyncio.run(obtain("2.1"))


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The image as an archive."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        image = asyncio.run(build(Path(folder, "image")))
        size = sum(layer.size for layer in image.local.layers)
        print(f"image of {size / 1e6:.0f} MB, not compressed, built in {time.monotonic() - began:.1f} s")
        yield image.archive()


def agent_of_the_chart(values: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's container as the chart describes it."""
    with Chart.load(CHART) as chart:
        text = chart.render(dict(values), name="registryd", namespace="kube-system")[
            "registryd/templates/daemonset.yaml"
        ]
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def values_for(node: Node) -> dict[str, Any]:
    places = node.containerd.places
    return {
        "containerd": {"socket": str(places.socket), "root": str(places.root)},
        "peers": {"insecure": True},
        "nodeSetup": {"enabled": False},
        "authorization": {"mode": "open"},
        # There is no Kubernetes here to discover from.
        "settings": {"discovery": {"kind": "static"}},
    }


def run_options(agent: Mapping[str, Any], node: Node) -> list[str]:
    """What the kubelet would ask of containerd for such a container on the host's network."""
    security = agent["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    options = ["--net-host", "--read-only", "--seccomp", *(f"--cap-drop=CAP_{name}" for name in CAPABILITIES)]
    options.append(f"--user={security['runAsUser']}:{security['runAsGroup']}")
    # As CRI orders them: what is mounted below another mount comes after it.
    for mount in sorted(agent["volumeMounts"], key=lambda each: each["mountPath"]):
        path = mount["mountPath"]
        is_scratch = not mount.get("readOnly")
        bind = f"type=bind,src={path},dst={path},options=rbind:ro"
        options.append(f"--mount={f'type=tmpfs,src=tmpfs,dst={path}' if is_scratch else bind}")
    known = {"HOST_IP": node.host.ipv4, "NODE_NAME": node.host.name}
    for entry in agent["env"]:
        value = known.get(entry["name"]) or re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], entry["value"])
        options.append(f"--env={entry['name']}={value}")
    return options


@asynccontextmanager
async def container(node: Node, program: Path) -> AsyncIterator[None]:
    """The agent in a container, with the mounts, variables and rights of the chart; ready."""
    ctr = node.containerd.ctr
    agent = agent_of_the_chart(values_for(node))
    await ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))
    command = ("registryd", *agent["args"])
    log = node.containerd.places.folder / "agent-in-container.log"
    await ctr("run", "--detach", f"--log-uri=file://{log}", *run_options(agent, node), REFERENCE, NAME, *command)
    try:
        await wait_ready(node, log)
        yield
    finally:
        await ctr("task", "delete", "--force", NAME)
        await ctr("container", "delete", NAME)


async def wait_ready(node: Node, log: Path) -> None:
    for _ in range(200):
        try:
            if (await fetch(f"http://{ADMIN}/readyz", namespace=node.host.namespace)).status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise NotReadyError(f"the agent in the container is not ready:\n{log.read_text()[-3000:]}")


async def metrics_of(node: Node) -> Metrics:
    answer = await fetch(f"http://{ADMIN}/metrics", namespace=node.host.namespace)
    return parse_metrics(answer.body.decode())


async def test_a_node_pulls_from_an_agent_in_a_container(
    runner: Release, program: Path, image: Image, tmp_path: Path
) -> None:
    peers = tmp_path / "peers"
    peers.write_text("")
    discovery = {"discovery": {"kind": "file", "file": str(peers), "peers": []}}
    plans = [NodePlan(runner, options=Options(snapshotter="overlayfs"), agent=None), NodePlan(runner, agent=discovery)]
    async with running_cluster(plans) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        began = time.monotonic()
        async with container(first, program):
            print(f"ready {time.monotonic() - began:.1f} s after the import began")
            peers.write_text(f"{first.host.ipv4}:{PEERS_PORT}\n")
            await cluster.origin.stop()
            await second.pull(f"{ORIGIN}/demo/app@{image.root.digest}")
            given = (await metrics_of(first)).total("registryd_peer_sent_bytes_total")
            memory = (await metrics_of(first)).total("process_resident_memory_bytes")
        print(f"the container gave {given / 1e6:.1f} MB, with {memory / (1 << 20):.0f} MiB of memory")
        assert all(second.containerd.has_blob(layer.digest) for layer in image.local.layers)
        assert given >= max(layer.size for layer in image.local.layers)


async def test_without_any_right_it_runs_as_nobody(runner: Release, program: Path, folder: Path) -> None:
    """As `registryd cache` and the job that waits for a removal do."""
    async with running_containerd(runner, folder, options=Options(snapshotter="overlayfs")) as containerd:
        await containerd.ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))
        rights = ["--rm", "--read-only", *(f"--cap-drop=CAP_{name}" for name in CAPABILITIES), REFERENCE]
        version = await containerd.ctr("run", *rights, "version", "registryd", "version")
        assert version.strip() == installed_version()
        script = (
            "import os, ssl, urllib.request; print(os.getuid(), len(ssl.create_default_context().get_ca_certs()) > 100)"
        )
        assert (await containerd.ctr("run", *rights, "python", "python3", "-c", script)).split() == ["65532", "True"]
