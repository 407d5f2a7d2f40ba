"""A real Helm installs, upgrades and removes the chart against an API server: what stays, what goes, in which order."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chart.conftest import CHART, NAMESPACE, Object
from tests.fakes.kubernetes import Key, Selection
from tests.fakes.kubernetes_server import FakeApiServer, running_api_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECRET = Key("secrets", NAMESPACE, "registryd")
AGENTS = Key("daemonsets.apps", NAMESPACE, "registryd")
REMOVAL = Key("daemonsets.apps", NAMESPACE, "registryd-removal")
WAIT = Key("jobs.batch", NAMESPACE, "registryd-removal")
JOBS = Selection("jobs.batch", NAMESPACE)
SECONDS = 10


class HelmFailed(Exception):
    """Helm's own words."""


class Release:
    """Helm's commands for one release."""

    def __init__(self, server: FakeApiServer, helm: asyncio.subprocess.Process) -> None:
        self.server = server
        self._helm = helm

    async def install(self, values: Object | None = None) -> None:
        await self._ask("install", values=values or {})

    async def upgrade(self, values: Object | None = None) -> None:
        await self._ask("upgrade", values=values or {})

    async def rollback(self) -> None:
        await self._ask("rollback")

    async def uninstall(self) -> None:
        await self._ask("uninstall")

    def get(self, key: Key) -> Any:
        return self.server.cluster.get(key)

    async def _ask(self, action: str, **options: object) -> None:
        assert self._helm.stdin
        assert self._helm.stdout
        request = {"action": action, "options": {**options, "timeout": SECONDS}}
        self._helm.stdin.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await self._helm.stdout.readline())
        if answer["error"]:
            raise HelmFailed(answer["error"])


@pytest.fixture
async def release(tmp_path: Path) -> AsyncIterator[Release]:
    server = FakeApiServer()
    async with running_api_server(server, tmp_path):
        program = (sys.executable, Path(__file__).with_name("helm_process.py"))
        arguments = (server.url, tmp_path / "ca.crt", NAMESPACE, CHART)
        helm = await asyncio.create_subprocess_exec(*program, *arguments, stdin=PIPE, stdout=PIPE)
        try:
            yield Release(server, helm)
        finally:
            helm.kill()
            await helm.communicate()


@asynccontextmanager
async def job_controller(release: Release, finish: Callable[[Object], str]) -> AsyncIterator[None]:
    """Give every job the condition that `finish` names when it is made."""
    cluster = release.server.cluster

    async def control() -> None:
        async for event in cluster.watch(JOBS, since=cluster.version):
            job = event["object"]
            if event["type"] == "ADDED":
                condition = {"type": finish(job), "status": "True"}
                status = {"conditions": [condition], "succeeded": 1, "completionTime": "2026-01-01T00:00:00Z"}
                cluster.put(WAIT, {**job, "status": status})

    task = asyncio.create_task(control(), name="job controller")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_the_cluster_secret_is_generated_once(release: Release) -> None:
    await release.install()
    secret = release.get(SECRET)["data"]["secret"]
    for values in ({}, {"peers": {"transport": "plain"}}):
        await release.upgrade(values)
        assert release.get(SECRET)["data"]["secret"] == secret
    await release.rollback()
    assert release.get(SECRET)["data"]["secret"] == secret


async def test_a_secret_that_was_rotated_by_hand_stays(release: Release) -> None:
    await release.install()
    rotated = base64.b64encode(b"new\nold\n").decode()
    release.server.cluster.put(SECRET, {**release.get(SECRET), "data": {"secret": rotated}})
    await release.upgrade()
    assert release.get(SECRET)["data"]["secret"] == rotated


async def test_changing_to_a_secret_of_ones_own_takes_the_generated_one_away(release: Release) -> None:
    await release.install()
    await release.upgrade({"clusterSecret": {"existingSecret": "mine"}})
    assert release.get(SECRET) is None


@pytest.mark.parametrize(
    ("families", "bracketed"), [(["IPv6"], True), (["IPv6", "IPv4"], True), (["IPv4", "IPv6"], False)]
)
async def test_the_family_is_the_clusters_own(release: Release, families: list[str], *, bracketed: bool) -> None:
    kubernetes = {"kind": "Service", "apiVersion": "v1", "spec": {"ipFamilies": families}}
    release.server.cluster.put(Key("services", "default", "kubernetes"), kubernetes)
    await release.install()
    (container,) = release.get(AGENTS)["spec"]["template"]["spec"]["containers"]
    (listen,) = [entry["value"] for entry in container["env"] if entry["name"] == "REGISTRYD_PEERS_LISTEN"]
    assert listen == ("[$(HOST_IP)]:3173" if bracketed else "$(HOST_IP):3173")


async def test_nodes_are_restored_before_the_agents_go_and_then_nothing_is_left(release: Release) -> None:
    await release.install()
    assert release.get(REMOVAL) is None
    there: list[bool] = []

    def finish(job: Object) -> str:
        there.extend(release.get(key) is not None for key in (AGENTS, REMOVAL, SECRET))
        release.server.cluster.delete(REMOVAL)  # as the job's script does when all nodes are done
        return "Complete"

    async with job_controller(release, finish):
        await release.uninstall()
    assert there == [True, True, True]
    assert [key for key in release.server.cluster.all_keys() if key.namespace == NAMESPACE] == []


async def test_a_node_that_cannot_be_restored_stops_the_removal_and_it_can_be_tried_again(release: Release) -> None:
    await release.install()
    async with job_controller(release, lambda _: "Failed"):
        with pytest.raises(HelmFailed):
            await release.uninstall()
    assert release.get(AGENTS)
    assert release.get(WAIT), "what failed is there to be looked at"
    assert release.get(REMOVAL), "and goes on trying"
    async with job_controller(release, lambda _: "Complete"):
        await release.uninstall()
    assert release.get(AGENTS) is None
    assert release.get(WAIT) is None


@pytest.mark.parametrize("level", ["baseline", "restricted"])
async def test_where_the_pods_are_forbidden_the_installation_fails_and_says_so(release: Release, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"labels": labels}}
    release.server.cluster.put(Key("namespaces", "", NAMESPACE), namespace)
    with pytest.raises(HelmFailed, match=f'namespace {NAMESPACE} enforces Pod Security "{level}"'):
        await release.install()
    assert release.get(AGENTS) is None


async def test_a_kept_secret_is_found_again(release: Release) -> None:
    values = {"clusterSecret": {"keep": True}}
    await release.install(values)
    secret = release.get(SECRET)["data"]["secret"]
    async with job_controller(release, lambda _: "Complete"):
        await release.uninstall()
    assert release.get(AGENTS) is None
    await release.install(values)
    assert release.get(SECRET)["data"]["secret"] == secret


# The script that the job runs


@asynccontextmanager
async def waiting(folder: Path, seconds: float) -> AsyncIterator[tuple[FakeApiServer, asyncio.subprocess.Process]]:
    (folder / "token").write_text("any")
    server = FakeApiServer()
    async with running_api_server(server, folder):
        host, _, port = server.url.removeprefix("https://").rpartition(":")
        environment = {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "SERVICE_ACCOUNT": str(folder),
            "TERMINATION_LOG": str(folder / "message"),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", (CHART / "wait_for_removal.py").read_text()),
            *(NAMESPACE, REMOVAL.name, "component=removal", str(seconds)),
            env=environment,
            stdout=PIPE,
        )
        try:
            yield server, process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def removal_with(ready: int, *, observed: int = 1) -> Object:
    status = {"observedGeneration": observed, "desiredNumberScheduled": 2, "numberReady": ready}
    return {"metadata": {"generation": 1}, "status": status}


def pod_key(node: str) -> Key:
    return Key("pods", NAMESPACE, f"removal-{node}")


def removal_pod(node: str, **status: object) -> Object:
    return {"metadata": {"labels": {"component": "removal"}}, "spec": {"nodeName": node}, "status": status}


READY = {"conditions": [{"type": "Ready", "status": "True"}]}


async def test_the_job_ends_when_the_last_node_is_done_and_deletes_the_daemonset(tmp_path: Path) -> None:
    async with waiting(tmp_path, 30) as (server, process):
        assert process.stdout
        assert b"404" in await process.stdout.readline()
        server.cluster.put(REMOVAL, {"metadata": {"generation": 1}})
        assert await process.stdout.readline() == b"waiting for the controller\n"
        server.cluster.put(pod_key("node-a"), removal_pod("node-a", **READY))
        server.cluster.put(pod_key("node-b"), removal_pod("node-b"))
        server.cluster.put(REMOVAL, removal_with(1))
        assert await process.stdout.readline() == b"1 not done: node-b\n"
        server.cluster.put(REMOVAL, removal_with(2))
        assert await process.stdout.readline() == b"all nodes are done\n"
        assert await process.wait() == 0
        assert server.cluster.get(REMOVAL) is None


PULLING = {"reason": "ImagePullBackOff", "message": "not found"}
WHY: dict[str, tuple[Object, str]] = {
    "a kubelet that does nothing": ({}, "is the node alive?"),
    "an image that is not to be had": (
        {"initContainerStatuses": [{"name": "uninstall", "state": {"waiting": PULLING}}]},
        "uninstall: ImagePullBackOff: not found",
    ),
    "a failure": (
        {"initContainerStatuses": [{"name": "uninstall", "lastState": {"terminated": {"exitCode": 1}}}]},
        "uninstall ended with 1",
    ),
    "no place": (
        {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes"}]},
        "not scheduled: 0/3 nodes",
    ),
}


@pytest.mark.parametrize(("status", "reason"), WHY.values(), ids=WHY)
async def test_the_job_names_the_node_that_is_not_done(tmp_path: Path, status: Object, reason: str) -> None:
    async with waiting(tmp_path, 0.5) as (server, process):
        server.cluster.put(pod_key("node-b"), removal_pod("node-b", **status))
        server.cluster.put(REMOVAL, removal_with(1))
        said, _ = await process.communicate()
        assert process.returncode == 1
        (line,) = [line for line in said.decode().splitlines() if line.startswith("  node-b: ")]
        assert reason in line
        assert "node-b" in (tmp_path / "message").read_text()
        assert server.cluster.get(REMOVAL)
