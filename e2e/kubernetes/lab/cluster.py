"""A cluster: a control plane and nodes on one network, and registries beside them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.kubernetes.lab.cgroups import check_cgroups, sweep_cgroups
from e2e.kubernetes.lab.control_plane import running_control_plane
from e2e.kubernetes.lab.kubectl import Kubectl
from e2e.kubernetes.lab.node import running_node
from e2e.kubernetes.lab.node_config import PAUSE
from e2e.kubernetes.lab.programs import obtain_programs
from lab.commands import require, run
from lab.errors import UnavailableError
from lab.images import ImageRecipe, local_architecture, make_image
from lab.layers import LayerFile, LayerRecipe
from lab.leftovers import workspace
from lab.network import new_network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from e2e.kubernetes.lab.control_plane import ControlPlane
    from e2e.kubernetes.lab.node import Node, Plan
    from e2e.kubernetes.lab.programs import Programs
    from lab.images import Image
    from lab.network import Host, Network

_NEEDED = (
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("runc", "runc"),
    ("iptables-save", "iptables"),
    ("docker-registry", "docker-registry"),
)
_PLUGINS = Path("/usr/lib/cni/bridge")
_NODE_SECONDS = 120  # 5 on a quiet machine
# Who a kube-proxy is; kubeadm installs this with its DaemonSet.
_PROXY_ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "lab:node-proxier"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
}


@dataclass
class Cluster:
    """What tests work with. Nodes that are added live as long as it does, or until they are removed."""

    folder: Path
    programs: Programs
    network: Network
    plane: ControlPlane
    kubectl: Kubectl
    pause: Path  # the archive with the image of sandboxes
    nodes: list[Node] = field(default_factory=list)
    _outsiders: list[Host] = field(default_factory=list)
    _lives: dict[str, contextlib.AsyncExitStack] = field(default_factory=dict)
    _count: int = 0

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    async def add(self, *plans: Plan) -> None:
        """Start nodes side by side; return when all are ready."""
        for plan in plans:
            await self.start(plan)
        await asyncio.gather(*(self.join(self.node(plan.name)) for plan in plans))

    async def start(self, plan: Plan) -> Node:
        """A node with a containerd and its place in the network, of which the API server does not know."""
        node = await self._start(plan)
        self.nodes.append(node)
        await self._route()
        await node.ctr("images", "import", "--base-name", PAUSE.partition(":")[0], str(self.pause))
        return node

    async def add_outsider(self, name: str) -> Host:
        """A host on the network that is no node, and that pods can talk to."""
        host = await self.network.add_host(name)
        self._outsiders.append(host)
        await self._route()
        return host

    async def join(self, node: Node) -> None:
        """Start its kubelet and kube-proxy; return when it is ready."""
        await node.start_kubelet()
        await node.start_proxy()
        await self.wait_ready(node)

    async def remove(self, node: Node) -> None:
        """Its machine ends as when somebody pulls the plug; what the API server thinks of it is another thing."""
        self.nodes.remove(node)
        await self._lives.pop(node.name).aclose()

    async def aclose(self) -> None:
        for name in list(self._lives):
            await self._lives.pop(name).aclose()

    async def wait_ready(self, node: Node) -> float:
        """Return after how many seconds the API server found the node ready."""
        return await self.kubectl.until(lambda: self._is_ready(node), what=f"{node.name} ready", timeout=_NODE_SECONDS)

    async def wait_dead(self, node: Node) -> float:
        """Return after how many seconds the API server knew that the node is dead, and keeps pods from it."""
        return await self.kubectl.until(lambda: self._is_avoided(node), what=f"{node.name} is known to be dead")

    async def _start(self, plan: Plan) -> Node:
        self._count += 1
        host = await self.network.add_host(plan.name)
        # Services are on no network: packets for them get to kube-proxy's rules only if there is a way out.
        await run("ip", "-n", host.namespace.name, "route", "add", "default", "via", self.plane.host.ipv4)
        life = self._lives[plan.name] = contextlib.AsyncExitStack()
        folder = self.folder / plan.name
        pods = f"10.244.{self._count}.0/24"
        return await life.enter_async_context(running_node(self.plane, host, folder, plan, pods=pods))

    async def _route(self) -> None:
        """Every host knows behind which node a pod's address is."""
        for node in self.nodes:
            others = (each.host for each in self.nodes if each is not node)
            for other in (self.plane.host, *self._outsiders, *others):
                route = ("route", "replace", node.pods, "via", node.host.ipv4)
                await run("ip", "-n", other.namespace.name, *route)

    async def _is_ready(self, node: Node) -> bool:
        found = await self.kubectl.get("node", node.name)
        return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"]["conditions"])

    async def _is_avoided(self, node: Node) -> bool:
        taints = (await self.kubectl.get("node", node.name))["spec"].get("taints", [])
        return any(each["key"] == "node.kubernetes.io/unreachable" and each["effect"] == "NoExecute" for each in taints)


@contextlib.asynccontextmanager
async def running_kubernetes(plans: Sequence[Plan], *, etcd_program: str = "") -> AsyncIterator[Cluster]:
    """A cluster whose nodes are ready, for the length of the block; nothing of it is left afterwards.

    Raises UnavailableError with what this machine lacks.
    """
    check_machine()
    programs = await obtain_programs()
    sweep_cgroups()
    async with workspace() as folder, new_network() as network:
        pause = await asyncio.to_thread(_pause_image, folder, programs)
        host = await network.add_host("control")
        async with running_control_plane(folder / "c", programs, host, etcd_program=etcd_program) as plane:
            access = plane.kubeconfig("admin", "admin", group="system:masters")
            cluster = Cluster(folder, programs, network, plane, Kubectl(access, host.namespace), pause)
            try:
                await cluster.kubectl.apply(_PROXY_ROLE)
                await cluster.add(*plans)
                yield cluster
            finally:
                await cluster.aclose()


def check_machine() -> None:
    """Raise UnavailableError with the first thing that is missing here."""
    for program, package in _NEEDED:
        require(program, package=package)
    if not _PLUGINS.exists():
        raise UnavailableError(f"{_PLUGINS} is not there (apt-get install containernetworking-plugins)")
    check_cgroups()


def _pause_image(folder: Path, programs: Programs) -> Path:
    """The archive with the image that every sandbox runs."""
    return waiting_image(folder / "pause", programs, tag=PAUSE.rpartition(":")[2]).archive()


def waiting_image(folder: Path, programs: Programs, *, tag: str = "v1", layers: tuple[LayerRecipe, ...] = ()) -> Image:
    """An image whose program waits until it is told to end, with further layers of any size; other layers per tag."""
    program = LayerRecipe(0, files=(LayerFile("pause", Path(programs.path("pause")).read_bytes()),))
    architectures = (local_architecture(),)
    seed = f"{folder.name}-{tag}"
    return make_image(folder, ImageRecipe((program, *layers), architectures, tag, seed, command=("/pause",)))
