"""What all tests here work with: one cluster, registries of several kinds, the image, and Helm."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.kubernetes.lab.cluster import Cluster, check_machine, running_kubernetes, waiting_image
from e2e.kubernetes.lab.node import Node, Plan
from e2e.kubernetes.lab.pki import Authority
from e2e.kubernetes.lab.pods import Outcome, pod, run_pod
from e2e.kubernetes.lab.programs import obtain_programs
from e2e.kubernetes.lab.registry import Registry, running_registry
from lab.agent import ADMIN, Metrics, parse_metrics
from lab.commands import run
from lab.containerd_config import Mirror, hosts_toml
from lab.errors import NotReadyError
from lab.fetch import fetch
from lab.layers import LayerRecipe
from lab.versions import obtain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from lab.images import Image

CHECKOUT = Path(__file__).parents[2]
NAMESPACE = "kube-system"
LOAD = "ctr --namespace k8s.io images import registryd.tar"  # in the folder with the archive
AUTHORITY = "/etc/containerd/certs.d/company.crt"
# A cluster of virtual nodes may stand still for seconds: so long its agents send no kubelet to a registry that is off.
PATIENCE = ("--set", "settings.registry.first_byte_timeout=30s", "--set", "settings.peers.find_timeout=10s")
_MIB = 1 << 20
_numbers = itertools.count(1)
# Names as references have them, and what is special about each. mirrored.lab itself does not exist: nodes ask a mirror.
_REGISTRIES = {"public.lab": "public", "private.lab": "private", "mirrored.lab": "mirrored", "plain.lab:5000": "plain"}
_MIRROR = "mirror.lab"


@dataclass
class Stage:
    cluster: Cluster
    registries: dict[str, Registry]
    authority: Authority
    folder: Path
    started_seconds: float  # how long it took until three nodes were ready, their programs being there
    installed: tuple[str, ...] | None = None  # the options of the release; None: there is none
    caches: int = 0  # members of the agents' cluster that are on no node of their own

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    # As a person does it

    async def shell(self, command: str, *, cwd: Path = CHECKOUT) -> str:
        """A command line of the documents, word for word, with kubectl and helm in the way."""
        script = f"cd {cwd} && {command}"
        inside = self.cluster.plane.host.namespace.command("bash", "-c", script)
        return await run(*inside, environment=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What kubectl and helm are found by, and find the cluster by."""
        return {**self.cluster.kubectl.environment, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    # The release

    async def archive(self) -> Path:
        """The product's image, made as the documents say."""
        path = self.folder / "registryd.tar"
        if not path.exists():
            # Not in the cluster's network, from which there is no way to Debian and PyPI.
            await run(str(CHECKOUT / "dev"), "image", str(path))
        return path

    async def load(self, node: Node) -> None:
        """The image is on a node, as the documents say."""
        archive = await self.archive()
        await node.run("sh", "-c", f"cd {archive.parent} && {LOAD}")

    async def install(self, *options: str) -> float:
        """Install or change the release; the seconds until its agents are ready. Nothing to do is fine."""
        if options != self.installed:
            if self.installed is None:
                for node in self.nodes:
                    await self.load(node)
            began = time.monotonic()
            words = " ".join(["--install", *options, *PATIENCE])
            await self.shell(f"helm upgrade registryd charts/registryd --namespace kube-system {words}")
            await self.shell("kubectl -n kube-system rollout status daemonset/registryd --timeout=300s")
            self.installed = options
            await self.wait_acquainted()
            return time.monotonic() - began
        return 0.0

    async def uninstall(self) -> None:
        """Without a release is fine."""
        if self.installed is not None:
            await self.shell("helm uninstall registryd --namespace kube-system")
            self.installed = None

    async def wait_acquainted(self) -> float:
        """Return when every agent reaches all others; else what each has to say of the others is beside the error."""
        try:
            return await self.cluster.kubectl.until(self._is_acquainted, what="agents know each other")
        except NotReadyError as error:
            error.add_note(await self._what_agents_say())
            raise

    async def _what_agents_say(self) -> str:
        kubectl = self.cluster.kubectl
        pods = await kubectl("-n", NAMESPACE, "get", "pods", "-o", "wide")
        slices = await kubectl("-n", NAMESPACE, "get", "endpointslices", "-o", "wide")
        return f"{pods}\n{slices}\n{await self.agent_logs()}"

    async def agent_logs(self) -> str:
        """What the agents said last, for the report of a test that fails."""
        selector = "app.kubernetes.io/component=agent"
        return await self.cluster.kubectl(
            *("-n", NAMESPACE, "logs", "-l", selector, "-c", "agent"), "--prefix", "--tail=200", "--ignore-errors"
        )

    async def _is_acquainted(self) -> bool:
        try:
            counts = [await self.peers(node) for node in self.nodes]
        except OSError:  # one has not begun
            return False
        return all(count == len(self.nodes) - 1 + self.caches for count in counts)

    async def peers(self, node: Node) -> float:
        """How many others its agent knows and can ask."""
        return (await self.metrics(node)).total("registryd_peers", state="available")

    async def wait_public(self, node: Node, reference: str) -> None:
        """Return when the node's agent has heard from the registry that anyone may have this image.

        The agent asks beside the pull, and may be told after the pull's end.
        """
        registry, _, rest = reference.partition("/")
        of_it = next(each for each in self.registries.values() if each.name == registry)

        async def has_asked() -> bool:
            asked = [each for each in of_it.requests(of=node.host) if each.repository == rest.rpartition(":")[0]]
            return any(each.program.startswith("registryd/") and each.status == HTTPStatus.OK for each in asked)

        await self.cluster.kubectl.until(has_asked, what=f"{node.name} knows that {reference} is public")

    # Registries

    async def image(self, registry: str, repository: str, *, mib: int = 4) -> tuple[str, Image]:
        """A new image in a registry, which no node has."""
        folder = self.folder / f"image-{next(_numbers)}"
        layers = (LayerRecipe(mib * _MIB // 2), LayerRecipe(mib * _MIB // 2))
        made = waiting_image(folder, self.cluster.programs, layers=layers)
        return await self.registries[registry].push(made, repository), made

    def configure(self, node: Node) -> None:
        """What an administrator writes on every node of such a company."""
        names = [f"127.0.0.1 localhost\n{node.host.ipv4} {node.name}"]
        for kind, registry in self.registries.items():
            node.machine.write(self.entry_path(kind), self._entry(kind))
            names.append(f"{registry.host.ipv4} {_host(kind, registry).partition(':')[0]}")
        node.machine.write(AUTHORITY, self.authority.certificate.read_text())
        node.machine.write("/etc/hosts", "\n".join([*names, ""]))

    def entry_path(self, kind: str) -> str:
        """Where a node's containerd is told how this registry is reached."""
        return f"/etc/containerd/certs.d/{self.registries[kind].name}/hosts.toml"

    @contextlib.contextmanager
    def without_agents(self, kind: str) -> Iterator[None]:
        """Nodes ask this registry as they did before the agents were installed, for the length of the block."""
        path = self.entry_path(kind)
        entries = [(node.machine.root / path.lstrip("/")).read_text() for node in self.nodes]
        try:
            for node in self.nodes:
                node.machine.write(path, self._entry(kind))
            yield
        finally:
            for node, entry in zip(self.nodes, entries, strict=True):
                node.machine.write(path, entry)

    def _entry(self, kind: str) -> str:
        registry = self.registries[kind]
        extra = {"ca": AUTHORITY} if registry.authority else {}
        mirror = Mirror(f"{registry.scheme}://{_host(kind, registry)}", extra=extra)
        return hosts_toml((mirror,), server=f"{registry.scheme}://{registry.name}")

    # Pods and agents

    async def pod(self, node: Node, image: str, **options: object) -> Outcome:
        """What becomes of a new pod with this image on this node."""
        keep, timeout = bool(options.pop("keep", False)), options.pop("timeout", 300)
        made = pod(f"pod-{next(_numbers)}", image, node, **options)  # type: ignore[arg-type]
        return await run_pod(self.cluster.kubectl, made, keep=keep, timeout=timeout)  # type: ignore[arg-type]

    async def metrics(self, node: Node) -> Metrics:
        answer = await fetch(f"http://{ADMIN}/metrics", namespace=node.host.namespace)
        return parse_metrics(answer.body.decode())

    async def from_peers(self, node: Node) -> int:
        """Bytes that the node's agent got from others for its containerd, since it started."""
        return int((await self.metrics(node)).total("registryd_sent_bytes_total", source="peer"))


def _host(kind: str, registry: Registry) -> str:
    return _MIRROR if kind == "mirrored" else registry.name


@contextlib.asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    check_machine()
    old, new = await obtain("1.6"), await obtain("2.4")
    await obtain_programs()
    began = time.monotonic()
    plans = [Plan("node-a", new, "zone-a"), Plan("node-b", new, "zone-a"), Plan("node-c", old, "zone-b")]
    async with running_kubernetes(plans) as cluster, contextlib.AsyncExitStack() as stack:
        started = time.monotonic() - began
        folder = cluster.folder / "stage"
        folder.mkdir()
        _write_programs(folder / "bin")
        authority = Authority(folder / "company", "company")
        registries = {}
        for name, kind in _REGISTRIES.items():
            host = await cluster.add_outsider(kind)
            registries[kind] = await stack.enter_async_context(
                running_registry(
                    folder / kind,
                    name=name,
                    host=host,
                    authority=None if kind == "plain" else authority,
                    certificate_name=_MIRROR if kind == "mirrored" else name,
                    is_private=kind == "private",
                )
            )
        stage = Stage(cluster, registries, authority, folder, started_seconds=started)
        for node in cluster.nodes:
            stage.configure(node)
        yield stage


def _write_programs(folder: Path) -> None:
    """kubectl and helm, as the documents call them."""
    folder.mkdir()
    kubectl = Path(sys.executable).with_name("kubectl")
    (folder / "kubectl").symlink_to(kubectl)
    script = f'#!/bin/sh\nexec env PYTHONPATH="{CHECKOUT}" "{sys.executable}" -m e2e.kubernetes.lab.helm "$@"\n'
    (folder / "helm").write_text(script)
    (folder / "helm").chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
