"""Doctor on real nodes: silent about what is well, and right about each thing that is not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from lab.agent import AGENT, PATIENT, REGISTRY
from lab.cluster import ORIGIN, NodePlan, running_cluster
from lab.containerd_config import Mirror
from lab.fetch import fetch
from lab.process import running
from lab.toml_text import merged
from registryd.identity.secret import new_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from lab.agent import Agent, Metrics
    from lab.cluster import Cluster, Node
    from lab.images import Image
    from lab.toml_text import Table
    from lab.versions import Release

pytestmark = pytest.mark.timeout(400)

US = f"http://{REGISTRY}"
TOKEN = "registryd_token_hm2bWb3pGkV0m8sLk1R4n7Qe5TzYxUaJ"


@dataclass(frozen=True)
class Found:
    """What doctor said, by the name of the finding."""

    code: int
    findings: dict[str, tuple[str, str]]

    def __contains__(self, wanted: tuple[str, str, str]) -> bool:
        name, severity, text = wanted
        return name in self.findings and self.findings[name][0] == severity and text in self.findings[name][1]

    @property
    def problems(self) -> dict[str, tuple[str, str]]:
        return {name: found for name, found in self.findings.items() if found[0] == "problem"}


async def doctor(node: Node, *more: str, environment: tuple[str, ...] = ()) -> Found:
    agent, containerd = agent_of(node), node.containerd
    where = {
        "--config": agent.folder / "agent.toml",
        "--containerd-config": containerd.places.config,
        "--containerd-program": containerd.release.containerd,
        "--state": agent.folder / "no-record",
    }
    words = [word for flag, value in where.items() for word in (flag, str(value))]
    program = ("env", *environment, sys.executable, "-m", "registryd", "doctor", "--json")
    argv = node.host.namespace.command(*program, *words, *more)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert output, errors.decode()
    # The checks have 14 s in all; the rest is for a program that starts on a busy machine.
    assert time.monotonic() - began < 14 + 45
    findings = json.loads(output)["findings"]
    assert all(each["remedy"] for each in findings if each["severity"] != "ok")
    return Found(process.returncode or 0, {each["name"]: (each["severity"], each["found"]) for each in findings})


def agent_of(node: Node) -> Agent:
    assert node.agent
    return node.agent


@contextlib.asynccontextmanager
async def well_cluster(release: Release, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two nodes with a secret and a token each, set up for all registries."""
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text(new_secret())
    token.write_text(f"{TOKEN}\n")
    for file in (secret, token):
        file.chmod(0o600)
    changes: Table = {
        "registry": {"token_file": str(token)},
        "peers": {"insecure": False, "secret_file": str(secret)},
    }
    async with running_cluster([NodePlan(release, agent=merged(PATIENT, changes))] * 2) as cluster:
        for node in cluster.nodes:
            write_hosts(cluster, node)
        yield cluster


def bytes_of(read: Metrics) -> dict[str, float]:
    """All bytes and requests that an agent has counted."""
    names = {name for name, _, _ in read.samples if name.endswith("_bytes_total") or name == "registryd_requests_total"}
    return {name: read.total(name) for name in names}


async def until_counted(node: Node, size: int) -> None:
    """Wait until its agent has noticed what containerd got elsewhere."""
    assert node.agent
    async with asyncio.timeout(30):
        while (await node.agent.metrics()).total("registryd_elsewhere_bytes_total") < size:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def write_hosts(cluster: Cluster, node: Node, **changes: str) -> None:
    mirror = Mirror(US, dial_timeout="1s", header={"Registryd-Token": TOKEN, **changes})
    node.containerd.write_hosts(ORIGIN, mirror, server=cluster.origin.url)
    node.containerd.write_hosts("_default", mirror)


async def test_all_is_well_and_a_trial_image_comes_from_the_peer(
    release: Release, image: Image, tmp_path: Path
) -> None:
    async with well_cluster(release, tmp_path) as cluster:
        first, second = cluster.nodes
        await first.pull(await cluster.push(image, "demo/app"))
        blobs = set((first.containerd.places.root / "io.containerd.content.v1.content/blobs/sha256").iterdir())
        names = await first.containerd.images.tags()

        local = image.local
        size = sum(blob.size for blob in (image.root, local.blob, local.config, *local.layers))
        await until_counted(first, size)
        before = [bytes_of(await node.agent.metrics()) for node in cluster.nodes if node.agent]
        found = await doctor(first)
        print(f"{release}:", *(f"{name}: {severity}: {text}" for name, (severity, text) in found.findings.items()))
        assert not found.problems
        assert found.code == 0
        assert ("pull", "ok", f"from peer {second.host.ipv4}:3173") in found
        assert ("containerd", "ok", ".".join(map(str, release.version[:2]))) in found
        for name in ("agent", "port", "token", "config_path", "hosts", "namespaces", "layers", "content", "clock"):
            assert found.findings[name][0] == "ok", found.findings[name]
        for name in ("secret", "peers", "upstream"):
            assert found.findings[name][0] == "ok", found.findings[name]

        # What nobody wanted is in no sum.
        assert [bytes_of(await node.agent.metrics()) for node in cluster.nodes if node.agent] == before
        assert await first.containerd.images.tags() == names
        new = set((first.containerd.places.root / "io.containerd.content.v1.content/blobs/sha256").iterdir()) - blobs
        await first.containerd.wait_blobs_gone(*(f"sha256:{path.name}" for path in new))


# Faults of files: made, found, undone


def _instead(text: str, _: str) -> str:
    return text


@contextlib.contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(change(before or ""))
    try:
        yield
    finally:
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_text(before)


async def test_faults_of_configuration_are_found(release: Release, tmp_path: Path) -> None:
    async with well_cluster(release, tmp_path) as cluster:
        node = cluster.nodes[0]
        hosts = node.containerd.places.hosts
        assert not (await doctor(node)).problems

        (hosts / "empty.lab").mkdir()
        assert ("hosts empty.lab", "problem", "is empty: it hides _default") in await doctor(node)
        (hosts / "empty.lab").rmdir()

        with changed(hosts / "broken.lab" / "hosts.toml", lambda _: "[host"):
            assert ("hosts broken.lab", "problem", "hosts.toml, because it is not TOML") in await doctor(node)
        with changed(
            hosts / "other.lab" / "hosts.toml", lambda _: 'server = "https://o.lab"\n[host."https://o.lab"]\n'
        ):
            assert ("hosts other.lab", "warning", "is not mirrored") in await doctor(node)
        late = f'[host."https://first.lab"]\n[host."{US}"]\n  [host."{US}".header]\n  Registryd-Token = "{TOKEN}"\n'
        with changed(hosts / "late.lab" / "hosts.toml", lambda _: late):
            assert ("hosts late.lab", "warning", "https://first.lab before the agent") in await doctor(node)
        wrong = f'[host."{US}"]\n  skip_verify = true\n  [host."{US}".header]\n  Registryd-Token = "{TOKEN}"\n'
        with changed(hosts / "tls.lab" / "hosts.toml", lambda _: wrong):
            assert ("hosts tls.lab", "problem", "sets skip_verify for the agent") in await doctor(node)
        with changed(hosts / "_default" / "hosts.toml", lambda text: text.replace(TOKEN, "another")):
            found = await doctor(node)
            assert ("hosts _default", "problem", "another token") in found
            assert ("pull", "problem", "the agent was not asked for it, or answered with a miss") in found
            assert found.code == 1

        for word in ('capabilities = ["pull", "push", "sing"]', 'server = "http://a b"'):
            text = f'{word}\n[host."{US}"]\n'
            with changed(hosts / "slip.lab" / "hosts.toml", partial(_instead, text)):
                assert ("hosts slip.lab", "problem", "hosts.toml, because") in await doctor(node)

        found = await doctor(node, "--store.namespaces", "elsewhere")
        assert ("namespaces", "warning", "no namespace elsewhere") in found
        assert not (await doctor(node)).problems


async def test_what_the_running_one_uses_and_what_its_files_say(release: Release, tmp_path: Path) -> None:
    async with well_cluster(release, tmp_path) as cluster:
        node = cluster.nodes[0]
        hosts = node.containerd.places.hosts
        config = node.containerd.places.config
        with changed(config, lambda text: text.replace(f'"{hosts}"', f'"{hosts}:/etc/docker/certs.d"')):
            found = await doctor(node)
            assert found.findings["pull"][0] == "ok"
            if release.version >= (2, 4):
                assert ("config_path", "problem", f"its configuration says {hosts}:/etc/docker/certs.d since") in found
                assert found.findings["hosts"][0] == "ok"  # by what runs, as the trial pull is
            else:
                assert ("config_path", "problem", "has changed since containerd started") in found
                assert found.findings["hosts"][0] != "ok"
        with changed(config, lambda text: f"{text}\nnonsense"):
            assert ("config_path", "problem", "is not TOML, so containerd does not start") in await doctor(node)
        async with with_containerd(node, registry={"config_path": f"{hosts}:/etc/docker/certs.d"}):
            found = await doctor(node)
            # CRI's own pull searches a list, the transfer service, which pulls since 2.1, ignores it.
            is_ignored = release.version >= (2, 1)
            assert (
                "config_path",
                *(("problem", "is a list") if is_ignored else ("ok", "/etc/docker/certs.d")),
            ) in found
            assert {found.findings[name][0] for name in ("hosts", "pull")} == {"problem" if is_ignored else "ok"}
        async with with_containerd(node, registry={"config_path": ""}):
            found = await doctor(node)
            # Since 2.2 there is a default, and it is a list.
            default = "is a list, /etc/containerd/certs.d:" if release.version >= (2, 2) else "sets no config_path"
            assert ("config_path", "problem", default) in found
            assert found.problems.keys() >= {"config_path", "hosts", "pull"}
        async with with_containerd(node, discard_unpacked_layers=True):
            assert ("layers", "ok", "the agent keeps them") in await doctor(node)
            assert ("layers", "warning", "keep_layers is 0") in await doctor(node, "--store.keep_layers", "0B")


@contextlib.asynccontextmanager
async def with_containerd(
    node: Node, *, registry: Table | None = None, discard_unpacked_layers: bool = False
) -> AsyncIterator[None]:
    """The node's containerd, started with other settings of images."""
    containerd = node.containerd
    before = containerd.options
    extra: Table = {}
    if registry:
        name = "io.containerd.grpc.v1.cri" if containerd.release.version < (2,) else "io.containerd.cri.v1.images"
        extra = {"plugins": {name: {"registry": registry}}}
    containerd.options = replace(
        before, extra=merged(before.extra, extra), discard_unpacked_layers=discard_unpacked_layers
    )
    await containerd.restart()
    await agent_of(node).process.wait_ready(agent_of(node).is_ready)
    try:
        yield
    finally:
        containerd.options = before
        await containerd.restart()
        await agent_of(node).process.wait_ready(agent_of(node).is_ready)


async def test_faults_of_this_node_are_found(release: Release, tmp_path: Path) -> None:
    async with well_cluster(release, tmp_path) as cluster:
        node = cluster.nodes[0]
        await cluster.origin.stop()
        assert (f"upstream {ORIGIN}", "warning", "does not answer") in await doctor(node)
        await cluster.origin.start()

        assert ("token", "problem", "does not accept the token") in await doctor(node, *other_token(tmp_path))
        assert ("port", "problem", "the settings here say") in await doctor(node, "--registry.listen", "127.0.0.1:3999")

        await node.containerd.stop()
        found = await doctor(node)
        assert ("containerd", "problem", "does not answer") in found
        assert ("agent", "problem", "cannot serve") in found
        await node.containerd.start()

        await agent_of(node).stop()
        found = await doctor(node)
        assert ("agent", "problem", "Connection refused") in found
        assert ("port", "ok", "free") in found
        async with image_cache_on_our_port(node, tmp_path):
            assert ("port", "problem", "is taken by python") in await doctor(node)


async def test_an_admin_port_on_the_nodes_address_tells_the_node_everything(release: Release, tmp_path: Path) -> None:
    """As the chart has it when Prometheus is to reach it."""
    async with well_cluster(release, tmp_path) as cluster:
        node, other = cluster.nodes
        admin = f"{node.host.ipv4}:3175"
        async with with_changes(node, {"admin": {"listen": admin}}):
            found = await doctor(node)
            assert not found.problems
            assert ("peers", "ok", "1 reached") in found
            assert ("pull", "ok", f"from peer {other.host.ipv4}:3173") in found
            assert (await fetch(f"http://{admin}/checkup", namespace=other.host.namespace)).status == 403


async def test_in_a_pod_all_but_the_nodes_files_is_looked_at(release: Release, tmp_path: Path) -> None:
    """Where containerd looks is known there by its own word, which it gives since 2.4."""
    in_pod = ("KUBERNETES_SERVICE_HOST=10.96.0.1",)
    async with well_cluster(release, tmp_path) as cluster:
        node, other = cluster.nodes
        found = await doctor(node, environment=in_pod)
        assert found.code == 0
        assert ("pull", "ok", f"from peer {other.host.ipv4}:3173") in found
        if release.version >= (2, 4):
            assert ("config_path", "ok", "") in found, "containerd says it itself"
            assert ("layers", "ok", "") in found
            return
        assert ("config_path", "warning", "this pod does not have") in found
        assert not {"hosts", "layers"} & set(found.findings)

        shutil.rmtree(node.containerd.places.hosts / "_default")  # as if only some were mirrored
        assert ("pull", "warning", "could not pull") in await doctor(node, environment=in_pod)


async def test_content_that_cannot_be_read_from_its_files_is_found(
    release: Release, image: Image, tmp_path: Path
) -> None:
    """As in a container without the mount: something else is where containerd says that its content is."""
    async with well_cluster(release, tmp_path) as cluster:
        node = cluster.nodes[0]
        await node.pull(await cluster.push(image, "demo/app"))
        content = node.containerd.places.root / "io.containerd.content.v1.content"
        hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(content))
        agent_of(node).program = (*hidden, *AGENT)
        await agent_of(node).restart()
        found = await doctor(node)
        assert ("content", "warning", "which is slow") in found
        assert found.code == 0


async def test_a_clock_that_is_wrong_is_found(release: Release, tmp_path: Path) -> None:
    """All processes here have one clock, so the other agent is told another time by its own Python."""
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text("import time\nright = time.time\ntime.time = lambda: right() + 90\n")
    async with well_cluster(release, tmp_path) as cluster:
        node, other = cluster.nodes
        agent_of(other).program = ("env", f"PYTHONPATH={ahead}", *AGENT)
        await agent_of(other).restart()
        await cluster.wait_acquainted()
        found = await doctor(node)
        severity, said = found.findings["clock"]
        measured = re.match(rf"{re.escape(other.host.ipv4)}:3173 is ([\d.]+) s ahead", said)
        assert measured, said
        # The other's clock is taken to be read half-way between question and answer, which a busy machine holds up.
        assert float(measured[1]) == pytest.approx(90, abs=10)
        assert severity == "warning"
        assert found.code == 0


def other_token(tmp_path: Path) -> tuple[str, str]:
    file = tmp_path / "other-token"
    file.write_text("registryd_token_q7Xw2ZkP9vR4mT1nB8yL5cJ3hG6dF0sA\n")
    file.chmod(0o600)
    return "--registry.token_file", str(file)


@contextlib.asynccontextmanager
async def image_cache_on_our_port(node: Node, tmp_path: Path) -> AsyncIterator[None]:
    """As Talos' own image cache: a registry of somebody else's."""
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "3172"]
    async with running(argv, log=tmp_path / "http.log", namespace=node.host.namespace) as process:
        await process.wait_ready(partial(_answers, node))
        yield


async def _answers(node: Node) -> bool:
    try:
        await fetch(f"http://{REGISTRY}/", namespace=node.host.namespace)
    except OSError:
        return False
    return True


async def test_faults_between_nodes_are_found(newest: Release, tmp_path: Path) -> None:
    async with well_cluster(newest, tmp_path) as cluster:
        node, other = cluster.nodes
        peer = f"peers {other.host.ipv4}:3173"

        async with with_changes(node, {"peers": {"listen": "127.0.0.1:3173"}}):
            assert (peer, "problem", "it cannot reach this node") in await doctor(node)
        async with with_changes(other, {"peers": {"content_listen": "127.0.0.1:3174"}}):
            assert (peer, "problem", "its bytes port cannot be reached") in await doctor(node)
        async with with_changes(other, {"discovery": {"peers": []}}):
            assert (peer, "problem", "its discovery does not know this node") in await doctor(node)
        async with with_changes(node, {"discovery": {"peers": []}}):
            found = await doctor(node)
            assert ("peers", "warning", "knows no other node") in found
            assert ("pull", "ok", "from the agent itself") in found

        secret = tmp_path / "other-secret"
        secret.write_text(new_secret())
        secret.chmod(0o600)
        async with with_changes(other, {"peers": {"secret_file": str(secret)}}):
            assert ("secret", "problem", "is no member of this cluster") in await doctor(node)

        await agent_of(other).stop()
        found = await doctor(node)
        assert (peer, "warning", "Connection refused") in found
        assert ("peers", "problem", "the only other node cannot be reached") in found
        assert found.code == 1
        await other.host.unplug()
        assert (peer, "warning", "cannot be reached") in await doctor(node)


@contextlib.asynccontextmanager
async def with_changes(node: Node, changes: Table) -> AsyncIterator[None]:
    agent = agent_of(node)
    before = agent.settings
    agent.settings = merged(before, changes)
    await agent.restart()
    await asyncio.sleep(1.5)
    try:
        yield
    finally:
        agent.settings = before
        await agent.restart()
        await asyncio.sleep(1.5)
