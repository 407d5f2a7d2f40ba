"""A node: a machine with a containerd, a kubelet and a kube-proxy, at the places where real nodes have them."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from e2e.kubernetes.lab.cgroups import new_cgroup
from e2e.kubernetes.lab.machine import running_machine
from e2e.kubernetes.lab.node_config import (
    SOCKET,
    cni_json,
    containerd_toml,
    kubelet_json,
    proxy_json,
)
from lab.commands import run
from lab.cri import ImageService
from lab.leftovers import unique_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.kubernetes.lab.control_plane import ControlPlane
    from e2e.kubernetes.lab.machine import Machine, MachineProcess
    from lab.network import Host
    from lab.toml_text import Table
    from lab.versions import Release

_CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")


@dataclass(frozen=True)
class Plan:
    """What may be different from node to node."""

    name: str
    release: Release
    zone: str = ""
    containerd: Table = field(default_factory=dict)  # merged over its configuration
    kubelet: dict[str, Any] = field(default_factory=dict)  # further settings


@dataclass
class Node:
    """Its programs may be stopped, killed and started again."""

    plan: Plan
    machine: Machine
    plane: ControlPlane
    access: Path
    cgroup: str
    pods: str  # the network of its pods
    processes: dict[str, MachineProcess] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def host(self) -> Host:
        return self.machine.host

    @property
    def images(self) -> ImageService:
        """Its containerd as a kubelet uses it."""
        return ImageService(self.machine.root / SOCKET.lstrip("/"))

    def has_blob(self, digest: str) -> bool:
        """Whether containerd has this content whole."""
        algorithm, _, encoded = digest.partition(":")
        store = self.machine.root / "var/lib/containerd/io.containerd.content.v1.content"
        return (store / "blobs" / algorithm / encoded).is_file()

    async def run(self, *argv: str) -> str:
        """What a command in the machine writes."""
        return await run(*self.machine.command(*argv))

    async def ctr(self, *arguments: str) -> str:
        return await self.run("ctr", "--namespace", "k8s.io", *arguments)

    # containerd

    async def start_containerd(self) -> None:
        """Return when CRI answers."""
        process = await self._start("containerd", "containerd")
        await process.outer.wait_ready(self.images.is_ready, timeout=60)

    async def restart_containerd(self) -> None:
        """As systemd does: pods go on."""
        await self.processes["containerd"].stop()
        await self.start_containerd()

    # kubelet and kube-proxy

    async def start_kubelet(self, **settings: object) -> None:
        """Start it; `settings` are added to its configuration. The API server is told of the node a moment later."""
        extra = {**self.plan.kubelet, **settings}
        authority = self.plane.authority.certificate
        self.machine.write(
            "/etc/kubernetes/kubelet.json", kubelet_json(authority=authority, cgroup=self.cgroup, extra=extra)
        )
        labels = [f"--node-labels=topology.kubernetes.io/zone={self.plan.zone}"] if self.plan.zone else []
        await self._start(
            "kubelet",
            self.plane.programs.path("kubelet"),
            "--config=/etc/kubernetes/kubelet.json",
            f"--kubeconfig={self.access}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.host.ipv4}",
            *labels,
        )

    async def start_proxy(self) -> None:
        """Without it the address of a Service, the API server's too, leads nowhere."""
        access = self.plane.kubeconfig(f"proxy-{self.name}", "system:kube-proxy")
        self.machine.write("/etc/kubernetes/proxy.json", proxy_json(kubeconfig=access, name=self.name))
        await self._start("kube-proxy", self.plane.programs.path("kube-proxy"), "--config=/etc/kubernetes/proxy.json")

    async def stop(self) -> None:
        for name in ("kubelet", "kube-proxy", "containerd"):
            if process := self.processes.pop(name, None):
                await process.kill()

    def log(self, name: str) -> str:
        return (self.machine.folder / f"{name}.log").read_text(errors="replace")

    async def _start(self, name: str, *argv: str) -> MachineProcess:
        log = self.machine.folder / f"{name}.log"
        self.processes[name] = await self.machine.start(argv, log=log)
        return self.processes[name]


@contextlib.asynccontextmanager
async def running_node(plane: ControlPlane, host: Host, folder: Path, plan: Plan, *, pods: str) -> AsyncIterator[Node]:
    """A node whose programs run; whether the API server finds it ready is asked there. `pods` is its pods' network."""
    cgroup = unique_name(plan.name)
    access = plane.kubeconfig(plan.name, f"system:node:{plan.name}", group="system:nodes")
    with new_cgroup(cgroup):
        async with running_machine(host, folder, name=plan.name, first=plane.programs.path("pause")) as machine:
            node = Node(plan, machine, plane, access, cgroup, pods)
            await _furnish(node)
            try:
                await node.start_containerd()
                yield node
            finally:
                await node.stop()


async def _furnish(node: Node) -> None:
    """The files and the forwarding that a node has before its programs start."""
    release, machine = node.plan.release, node.machine
    programs = machine.root / "usr/local/bin"
    for name in _CONTAINERD_PROGRAMS:
        if release.programs.joinpath(name).exists() and str(release.programs) != "/usr/bin":
            shutil.copy2(release.programs / name, programs / name)
    machine.write("/etc/containerd/config.toml", containerd_toml(release, node.plan.containerd))
    (machine.root / "etc/containerd/certs.d").mkdir(exist_ok=True)
    machine.write("/etc/cni/net.d/10-lab.conflist", cni_json(node.pods))
    machine.write("/etc/hosts", f"127.0.0.1 localhost\n{machine.host.ipv4} {node.name}\n")
    await node.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
