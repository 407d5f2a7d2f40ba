"""The container image at work where the chart puts it: a real containerd runs it, another node pulls from it."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from helm_python import Chart

from containers.build import build
from lab.agent import ADMIN, PATIENT, PEERS_PORT, parse_metrics
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd import running_containerd
from lab.containerd_config import Mirror, Options
from lab.errors import NotReadyError
from lab.fetch import fetch
from lab.leftovers import unique_name
from lab.toml_text import merged
from registryd.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from lab.agent import Metrics
    from lab.cluster import Node
    from lab.images import Image
    from lab.versions import Release

# Building takes a minute and a half when nothing is cached, some seconds when Debian's and PyPI's parts are.
pytestmark = pytest.mark.timeout(300)

CHART = Path(__file__).parents[1] / "charts" / "registryd"
REFERENCE = "lab/registryd:v1"
LISTS = "/etc/registryd/prefetch"
# What containerd gives a container by itself (oci.defaultUnixCaps); the chart drops them all.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
    *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)


@pytest.fixture(scope="module")
def runner(newest: Release) -> Release:
    """One version, because what runs the container is runc in all of them; before 1.7, ctr has no --user."""
    return newest


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """The image as an archive."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        image = asyncio.run(build(Path(folder, "image")))
        size = sum(layer.size for layer in image.local.layers)
        print(f"image of {size / 1e6:.0f} MB, not compressed, built in {time.monotonic() - began:.1f} s")
        yield image.archive()


def pod_of_the_chart(template: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A pod's specification as the chart makes it."""
    found: dict[str, Any] = object_of_the_chart(template, values)["spec"]["template"]["spec"]
    return found


def object_of_the_chart(template: str, values: Mapping[str, Any]) -> dict[str, Any]:
    with Chart.load(CHART) as chart:
        rendered = chart.render(dict(values), name="registryd", namespace="kube-system")
    found: dict[str, Any] = yaml.safe_load(rendered[f"registryd/templates/{template}"])
    return found


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


def rights_of(security: Mapping[str, Any]) -> list[str]:
    """A security context in the words of `ctr run`."""
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"]["drop"] == ["ALL"]
    kept = security["capabilities"].get("add", [])
    dropped = [f"--cap-drop=CAP_{name}" for name in CAPABILITIES if name not in kept]
    return ["--read-only", "--seccomp", f"--user={security['runAsUser']}:{security['runAsGroup']}", *dropped]


def variables_of(container: Mapping[str, Any], *, address: str, name: str) -> list[str]:
    """Its variables, with those filled in that the kubelet would."""
    known = {"HOST_IP": address, "NODE_NAME": name, "NODE_ZONE": "", "POD_IP": address, "POD_NAME": name}
    options = []
    for entry in container.get("env", []):
        value = known.get(entry["name"])
        if value is None:
            value = re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], entry["value"])
        options.append(f"--env={entry['name']}={value}")
    return options


def mounts_of(container: Mapping[str, Any], sources: Mapping[str, Path]) -> list[str]:
    """Its mounts; what is not among the sources is the node's if it is read-only, else scratch."""
    options = []
    # As CRI orders them: what is mounted below another mount comes after it.
    for mount in sorted(container["volumeMounts"], key=lambda each: each["mountPath"]):
        path = mount["mountPath"]
        if path in sources or mount.get("readOnly"):
            rights = "ro" if mount.get("readOnly") else "rw"
            options.append(f"--mount=type=bind,src={sources.get(path, path)},dst={path},options=rbind:{rights}")
        else:
            options.append(f"--mount=type=tmpfs,src=tmpfs,dst={path}")
    return options


def run_options(agent: Mapping[str, Any], node: Node) -> list[str]:
    """What the kubelet would ask of containerd for such a container on the host's network."""
    options = ["--net-host", *rights_of(agent["securityContext"])]
    blocked = node.containerd.places.folder / "blocked"  # as the ConfigMap is where nothing is blocked
    blocked.mkdir(exist_ok=True)
    (blocked / "block").touch()
    mounts = mounts_of(agent, {"/etc/registryd/images": blocked})
    return options + mounts + variables_of(agent, address=node.host.ipv4, name=node.host.name)


@asynccontextmanager
async def container(node: Node, program: Path) -> AsyncIterator[str]:
    """The agent in a container of this name, with the mounts, variables and rights of the chart; ready."""
    # runc keeps the containers of all containerds in one folder of the machine: a name is used once.
    ctr, container_name = node.containerd.ctr, unique_name("registryd")
    (agent,) = pod_of_the_chart("daemonset.yaml", values_for(node))["containers"]
    await ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))
    command = ("registryd", *agent["args"])
    log = node.containerd.places.folder / "agent-in-container.log"
    options = ["--detach", f"--log-uri=file://{log}", *run_options(agent, node)]
    await ctr("run", *options, REFERENCE, container_name, *command)
    try:
        await wait_ready(node, log)
        yield container_name
    finally:
        await ctr("task", "delete", "--force", container_name)
        await ctr("container", "delete", container_name)


async def wait_ready(node: Node, log: Path, *, admin: str = ADMIN) -> None:
    for _ in range(200):
        try:
            if (await fetch(f"http://{admin}/readyz", namespace=node.host.namespace)).status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise NotReadyError(f"what runs in the container is not ready:\n{log.read_text()[-3000:]}")


async def metrics_of(node: Node) -> Metrics:
    answer = await fetch(f"http://{ADMIN}/metrics", namespace=node.host.namespace)
    return parse_metrics(answer.body.decode())


async def test_a_node_pulls_from_an_agent_in_a_container(
    runner: Release, program: Path, image: Image, tmp_path: Path
) -> None:
    peers = tmp_path / "peers"
    peers.write_text("")
    discovery = {"discovery": {"kind": "file", "file": str(peers), "peers": []}}
    plans = [
        NodePlan(runner, options=Options(snapshotter="overlayfs"), agent=None),
        NodePlan(runner, agent=merged(PATIENT, discovery)),
    ]
    async with running_cluster(plans) as cluster:
        first, second = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        await first.pull(reference)
        began = time.monotonic()
        async with container(first, program) as container_name:
            print(f"ready {time.monotonic() - began:.1f} s after the import began")
            peers.write_text(f"{first.host.ipv4}:{PEERS_PORT}\n")
            assert second.agent is not None
            async with asyncio.timeout(30):
                while (await second.agent.metrics()).total("registryd_peers", state="available") < 1:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            await cluster.origin.stop()
            await second.pull(f"{ORIGIN}/demo/app@{image.root.digest}")
            given = (await metrics_of(first)).total("registryd_peer_sent_bytes_total")
            # As `kubectl exec` runs it, with the pod's own variables.
            in_pod = ("env", "KUBERNETES_SERVICE_HOST=10.96.0.1", "sh", "-c", "registryd doctor || true")
            said = await first.containerd.ctr("task", "exec", "--exec-id", "doctor", container_name, *in_pod)
            print(said)
            # The node's containerd is not set up here, and 2.4 says itself where it looks: nothing else is wrong.
            assert [line for line in said.splitlines() if "✗" in line and "✗ hosts" not in line] == []
            memory = (await metrics_of(first)).total("process_resident_memory_bytes")
        print(f"the container gave {given / 1e6:.1f} MB, with {memory / (1 << 20):.0f} MiB of memory")
        assert all(second.containerd.has_blob(layer.digest) for layer in image.local.layers)
        assert given >= max(layer.size for layer in image.local.layers)


async def test_without_any_right_it_runs_as_nobody(runner: Release, program: Path, folder: Path) -> None:
    """As `registryd cache` and the job that waits for a removal do."""
    async with running_containerd(runner, folder, options=Options(snapshotter="overlayfs")) as containerd:
        await containerd.ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))
        rights = ["--rm", "--read-only", *(f"--cap-drop=CAP_{name}" for name in CAPABILITIES), REFERENCE]
        version = await containerd.ctr("run", *rights, unique_name("version"), "registryd", "version")
        assert version.strip() == VERSION
        script = (
            "import os, ssl, urllib.request; print(os.getuid(), len(ssl.create_default_context().get_ca_certs()) > 100)"
        )
        said = await containerd.ctr("run", *rights, unique_name("python"), "python3", "-c", script)
        assert said.split() == ["65532", "True"]


async def test_the_cache_and_the_prefetching_of_the_chart_work_in_their_containers(
    runner: Release, program: Path, image: Image
) -> None:
    """A cache of nobody's on a folder, and a root without rights that has the node's containerd pull through it."""
    async with running_cluster([NodePlan(runner, options=Options(snapshotter="overlayfs"), agent=None)]) as cluster:
        (node,) = cluster.nodes
        reference = await cluster.push(image, "demo/app")
        ctr, places = node.containerd.ctr, node.containerd.places
        await ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))
        values = {
            "agent": {"enabled": False},
            "authorization": {"mode": "open"},
            "containerd": {"socket": str(places.socket), "root": str(places.root)},
            "cache": {
                "enabled": True,
                "upstreams": {"registries": {ORIGIN: {"url": cluster.origin.url}}},
                "settings": {"cache": {"keep_free": "0B"}},
            },
            "prefetch": {"images": [reference]},
        }
        sources = {path: cluster.folder / name for path, name in (("/var/lib/registryd", "store"), (LISTS, "lists"))}
        for source in sources.values():
            source.mkdir()
        shutil.chown(sources["/var/lib/registryd"], 65532, 65532)
        images = object_of_the_chart("prefetch/images.yaml", values)["data"]["images.txt"]
        (sources[LISTS] / "images.txt").write_text(images)

        pod = pod_of_the_chart("cache/deployment.yaml", values)
        (cache,) = pod["containers"]
        security = {**pod["securityContext"], **cache["securityContext"]}
        log = cluster.folder / "cache.log"
        options = ["--net-host", *rights_of(security), *mounts_of(cache, sources)]
        options += variables_of(cache, address=node.host.ipv4, name="cache")
        container_name = unique_name("cache")
        options = ["--detach", f"--log-uri=file://{log}", *options]
        await ctr("run", *options, REFERENCE, container_name, "registryd", *cache["args"])
        try:
            await wait_ready(node, log, admin=f"{node.host.ipv4}:3175")
            node.containerd.write_hosts(ORIGIN, Mirror(f"http://{node.host.ipv4}:3172"), server="http://127.0.0.1:9")
            (prefetch,) = pod_of_the_chart("prefetch/daemonset.yaml", values)["initContainers"]
            options = ["--rm", "--net-host", *rights_of(prefetch["securityContext"]), *mounts_of(prefetch, sources)]
            said = await ctr("run", *options, REFERENCE, unique_name("prefetch"), "registryd", *prefetch["args"])
            print(said)
            assert "1 image, none incomplete" in said
            assert all(node.containerd.has_blob(layer.digest) for layer in image.local.layers)
            stored = {path.name for path in sources["/var/lib/registryd"].glob("blobs/sha256/*")}
            assert {layer.digest.removeprefix("sha256:") for layer in image.local.layers} <= stored
        finally:
            await ctr("task", "delete", "--force", container_name)
            await ctr("container", "delete", container_name)


HOSTS = """# ours
server = "https://registry-1.docker.io"

[host."https://mirror.example"]
  capabilities = ["pull"]  # and nothing else
"""


def files_below(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


async def test_set_up_and_removal_run_in_their_containers_and_leave_nothing(
    runner: Release, program: Path, folder: Path
) -> None:
    """The commands, mounts and rights of the chart's init containers, on a node that is a folder."""
    node = folder / "node"
    hosts = node / "etc/containerd/certs.d/docker.io/hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(HOSTS)
    config = '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
    (node / "etc/containerd/config.toml").write_text(f"version = 2\n{config}")
    before = files_below(node)
    # What the kubelet makes for the agents' mount.
    (node / "var/lib/registryd").mkdir(parents=True)

    values = {"nodeSetup": {"extraArgs": ["--containerd-version=1.7.24"]}, "mirroredRegistries": ["docker.io"]}
    set_up = pod_of_the_chart("daemonset.yaml", values)["initContainers"]
    removal = pod_of_the_chart("removal/daemonset.yaml", values)["initContainers"]
    async with running_containerd(
        runner, folder / "containerd", options=Options(snapshotter="overlayfs")
    ) as containerd:
        await containerd.ctr("images", "import", "--base-name", REFERENCE.rpartition(":")[0], str(program))

        async def run(init: Mapping[str, Any]) -> str:
            variables = variables_of(init, address="10.0.0.1", name="node-a")
            targets = {mount["mountPath"] for mount in init["volumeMounts"]}
            host = [f"--mount=type=bind,src={node},dst=/host,options=rbind:rw"] if "/host" in targets else []
            scratch = ["--mount=type=tmpfs,src=tmpfs,dst=/tmp"] if "/tmp" in targets else []
            command = init.get("command") or ["registryd", *init["args"]]
            options = ["--rm", *rights_of(init["securityContext"]), *host, *scratch, *variables]
            return await containerd.ctr("run", *options, REFERENCE, unique_name(init["name"]), *command)

        for init in set_up:
            print(await run(init))
        assert "http://127.0.0.1:3172" in hosts.read_text()
        assert (node / "var/lib/registryd/token").is_file()
        for init in removal:
            print(await run(init))
    assert {name for name in files_below(node) if name not in before} <= {"var", "var/lib"}
    assert {name: content for name, content in files_below(node).items() if name in before} == before
