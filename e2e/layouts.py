"""containerd as people's distributions lay it out: their files where they have them, and how they start it.

The texts say what theirs say; the sources are named. `{data}` stands for a distribution's own folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.node_root import NodeRoot
    from lab.versions import Release

CERTS: Final = "/etc/containerd/certs.d"
CONFIG: Final = "/etc/containerd/config.toml"
SOCKET: Final = "/run/containerd/containerd.sock"
NEW: Final = "plugins.'io.containerd.cri.v1.images'"
OLD: Final = 'plugins."io.containerd.grpc.v1.cri"'
RUNC: Final = f'[{OLD}.containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n'
_EVERY: Final = ("1.6", "1.7", "2.1", "2.2", "2.3", "2.4")


class Step(Protocol):
    """What a distribution does on its node before each start of its containerd."""

    async def __call__(self, node: NodeRoot, release: Release) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to run containerd.

    Args:
        program: Where its containerd is on the node.
        words: What it is started with.
        before_start: What its distribution does before that, each time.
        hosts: Where the one that runs looks for hosts.toml files once it is set up; empty: it is not set up.
        edited: The file in which config_path is set for that; empty: none, and nothing is restarted.
        says: What install is to say besides.
        series: The versions that it is of.
        install: Further words of `install`.
    """

    name: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    program: str = "/usr/bin/containerd"
    words: tuple[str, ...] = ()
    socket: str = SOCKET
    before_start: Step | None = None
    hosts: str = CERTS
    edited: str = ""
    says: tuple[str, ...] = ()
    series: tuple[str, ...] = _EVERY
    install: tuple[str, ...] = ()

    def is_of(self, release: Release) -> bool:
        return ".".join(map(str, release.version[:2])) in self.series

    def __str__(self) -> str:
        return self.name


_1: Final = ("1.6", "1.7")
_2: Final = ("2.1", "2.2", "2.3", "2.4")
_2_3: Final = ("2.3", "2.4")


# A bare node, and kubeadm's


async def config_default(node: NodeRoot, release: Release) -> None:
    """As Kubernetes' documentation has it, once."""
    if not node.at(CONFIG).exists():
        node.write({CONFIG: await node.run(release.containerd, "config", "default")})


_BARE: Final = (
    Layout(name="config default, 1.x", before_start=config_default, edited=CONFIG, series=_1),
    Layout(
        name="config default, 2.x",
        before_start=config_default,
        edited="/etc/containerd/conf.d/zz-registryd.toml",
        series=_2,
    ),
    Layout(name="no file", edited=CONFIG),
    Layout(name="an empty file", files={CONFIG: ""}, edited=CONFIG),
    Layout(name="a file without a version", files={CONFIG: "[debug]\n  level = 'info'\n"}, edited=CONFIG),
    Layout(name="version 2", files={CONFIG: f"version = 2\n[{OLD}]\n  sandbox_image = 'pause'\n{RUNC}"}, edited=CONFIG),
    Layout(
        name="version 3",
        files={CONFIG: f"version = 3\n[{NEW}.pinned_images]\n  sandbox = 'pause'\n"},
        edited=CONFIG,
        series=_2,
    ),
    Layout(
        name="the list that counts where CRI pulls by itself",
        files={CONFIG: f"version = 3\n[{NEW}]\n  max_concurrent_downloads = 4\n"},
        hosts=f"{CERTS}:/etc/docker/certs.d",
        series=("2.2", "2.3", "2.4"),
    ),
    Layout(
        name="version 4",
        files={CONFIG: f"version = 4\n[{NEW}.pinned_images]\n  sandbox = 'pause'\n"},
        edited=CONFIG,
        series=_2_3,
    ),
    Layout(
        name="another socket, version 4",
        files={CONFIG: "version = 4\n[plugins.'io.containerd.server.v1.grpc']\n  address = '/run/own/c.sock'\n"},
        words=("--config", CONFIG),
        socket="/run/own/c.sock",
        edited=CONFIG,
        install=("--store.containerd_socket", "/run/own/c.sock"),
        series=_2_3,
    ),
    Layout(
        name="another socket, by its file",
        files={CONFIG: "version = 2\n[grpc]\n  address = '/run/own/c.sock'\n"},
        words=("--config", CONFIG),
        socket="/run/own/c.sock",
        edited=CONFIG,
        install=("--containerd-config", CONFIG),
        says=("store.containerd_socket = /run/own/c.sock",),
    ),
    Layout(
        name="another configuration",
        files={
            "/etc/own/c.toml": "version = 2\n",
            "/etc/own/certs.d/docker.io/hosts.toml": '[host."http://127.0.0.1:9"]\n',
        },
        words=("-c", "/etc/own/c.toml"),
        edited="/etc/own/c.toml",
        install=("--config-path", "/etc/own/certs.d"),
        hosts="/etc/own/certs.d",
    ),
)

# What NVIDIA's toolkit writes beside it (nvidia-ctk runtime configure, the operator's container toolkit)

_NVIDIA: Final = "/etc/containerd/conf.d/99-nvidia.toml"
_IMPORTS: Final = 'imports = ["/etc/containerd/conf.d/*.toml"]\n'
_NVIDIA_3: Final = (
    "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_cdi = true\n"
    f"[{NEW}]\n  disable_snapshot_annotations = true\n"
)
_NVIDIA_2: Final = f'version = 2\n{RUNC}[{OLD}.containerd.runtimes.nvidia]\n  runtime_type = "io.containerd.runc.v2"\n'
_OWN_PATH: Final = f"[{OLD}.registry]\n  config_path = '{CERTS}'\n"

_WITH_NVIDIA: Final = (
    Layout(
        name="NVIDIA's version 3 beside a version 2 that it switches off",
        files={CONFIG: f"version = 2\n{_IMPORTS}{_OWN_PATH}{RUNC}", _NVIDIA: _NVIDIA_3},
        edited="/etc/containerd/conf.d/zz-registryd.toml",
        says=("passes over the settings of images in /etc/containerd/config.toml",),
        series=("2.1", "2.2"),
    ),
    Layout(
        name="NVIDIA's version 3 beside a version 2",
        files={CONFIG: f"version = 2\n{_IMPORTS}{_OWN_PATH}{RUNC}", _NVIDIA: _NVIDIA_3},
        series=_2_3,
    ),
    Layout(
        name="NVIDIA's version 2, which replaces all of CRI's settings",
        files={CONFIG: f"version = 2\n{_IMPORTS}{_OWN_PATH}{RUNC}", _NVIDIA: _NVIDIA_2},
        edited=_NVIDIA,
        says=("99-nvidia.toml is another program's file",),
        series=_1,
    ),
    Layout(
        name="NVIDIA's version 2 beside a version 3",
        files={CONFIG: f"version = 3\n{_IMPORTS}", _NVIDIA: _NVIDIA_2},
        edited="/etc/containerd/conf.d/zz-registryd.toml",
        series=_2,
    ),
    Layout(
        name="NVIDIA's version 3 beside a version 4",
        files={CONFIG: f"version = 4\n{_IMPORTS}", _NVIDIA: _NVIDIA_3},
        edited="/etc/containerd/conf.d/zz-registryd.toml",
        series=_2_3,
    ),
)

# Clouds

_EKS_LIST: Final = f"{CERTS}:/etc/docker/certs.d"
_CLOUDS: Final = (
    Layout(  # nodeadm/internal/containerd/config2.template.toml of amazon-eks-ami
        name="EKS, containerd 2",
        files={
            CONFIG: "version = 3\nroot = '/var/lib/containerd'\nstate = '/run/containerd'\n"
            f"[grpc]\naddress = '{SOCKET}'\n"
            f"[{NEW}]\ndiscard_unpacked_layers = true\n[{NEW}.registry]\nconfig_path = '{_EKS_LIST}'\n"
        },
        words=("--config", CONFIG),
        hosts=_EKS_LIST,
        series=_2,
    ),
    Layout(
        name="EKS, containerd 1",
        files={
            CONFIG: f"version = 2\n[{OLD}.containerd]\ndiscard_unpacked_layers = true\n{RUNC}"
            f"[{OLD}.registry]\nconfig_path = '{_EKS_LIST}'\n"
        },
        hosts=_EKS_LIST,
        series=_1,
    ),
    Layout(  # aks-node-controller/parser/templates/containerd_no_GPU.toml.gtpl of AgentBaker
        name="AKS",
        files={
            CONFIG: f"version = 2\noom_score = -999\n[{OLD}]\n  sandbox_image = 'pause'\n{RUNC}{_OWN_PATH}"
            f"  [{OLD}.registry.headers]\n    X-Meta-Source-Client = ['azure/aks']\n"
            '[metrics]\n  address = "0.0.0.0:10257"\n'
        },
    ),
    Layout(  # docs.cloud.google.com, customize-containerd-configuration: /etc/containerd/hosts.d
        name="GKE",
        files={
            CONFIG: f"version = 2\nrequired_plugins = ['io.containerd.grpc.v1.cri']\n{RUNC}"
            f"[{OLD}.registry]\n  config_path = '/etc/containerd/hosts.d'\n",
            "/etc/containerd/hosts.d/docker.io/hosts.toml": 'server = "https://docker.io"\n'
            '[host."https://mirror.gcr.io"]\n  capabilities = ["pull", "resolve"]\n',
        },
        hosts="/etc/containerd/hosts.d",
        says=("authorization.hosts_dir = /etc/containerd/hosts.d",),
    ),
)

# k3s and RKE2: pkg/agent/containerd and pkg/agent/templates of k3s

_GENERATED_HOSTS: Final = (
    "# File generated by k3s. DO NOT EDIT.\n\n\nserver = 'https://registry-1.docker.io/v2'\n\n[host]\n"
    "[host.'https://mirror.lab/v2']\n  capabilities = ['pull', 'resolve']\n"
)


def _of_rancher(name: str, data: str, *, is_default: bool = True) -> Layout:
    etc = f"{data}/agent/etc/containerd"

    async def write(node: NodeRoot, release: Release) -> None:
        version, table = (2, OLD) if release.version < (2,) else (3, NEW)
        node.write(
            {
                f"{etc}/config.toml": f"# File generated by {name}. DO NOT EDIT.\nversion = {version}\n"
                f"root = '{data}/agent/containerd'\nstate = '/run/k3s/containerd'\n"
                f"[grpc]\n  address = '/run/k3s/containerd/containerd.sock'\n"
                f"[{table}.registry]\n  config_path = '{etc}/certs.d'\n",
                f"{etc}/certs.d/docker.io/hosts.toml": _GENERATED_HOSTS,
            }
        )

    folder = f"{data}/data/current/bin" if name == "k3s" else f"{data}/bin"
    return Layout(
        name=f"{name} in {data}",
        program=f"{folder}/containerd",
        words=("-c", f"{etc}/config.toml"),
        socket="/run/k3s/containerd/containerd.sock",
        before_start=write,
        hosts=f"{etc}/certs.d",
        says=(
            "store.containerd_socket = /run/k3s/containerd/containerd.sock",
            f"store.containerd_root = {data}/agent/containerd",
            f"authorization.hosts_dir = {etc}/certs.d",
            "is written again whenever its generator starts",
        ),
    )


_RANCHER: Final = (
    _of_rancher("k3s", "/var/lib/rancher/k3s"),
    _of_rancher("k3s", "/data/k3s"),
    _of_rancher("rke2", "/var/lib/rancher/rke2"),
)

# k0s: pkg/component/worker/containerd, and docs/runtime.md

_K0S_CRI: Final = "/run/k0s/containerd-cri.toml"


async def as_k0s_does(node: NodeRoot, release: Release) -> None:
    """Its main file is made anew; drop-ins with settings of CRI are merged into one file, the others imported."""
    version, tables = (2, (OLD,)) if release.version < (2,) else (3, (NEW, "plugins.'io.containerd.cri.v1.runtime'"))
    texts = {path.name: path.read_text() for path in sorted(node.at("/etc/k0s/containerd.d").glob("*.toml"))}
    patches = {name: text for name, text in texts.items() if any(_has(text, table) for table in tables)}
    imported = [_K0S_CRI, *(f"/etc/k0s/containerd.d/{name}" for name in texts if name not in patches)]
    body = "".join(map(_without_version, patches.values()))
    head = f"# k0s_managed=true\n# This is a placeholder.\nversion = {version}\n"
    node.write(
        {
            "/etc/k0s/containerd.d": None,
            _K0S_CRI: f"version = {version}\n{body}",
            "/etc/k0s/containerd.toml": f"{head}imports = {imported!r}\n",
        }
    )


def _has(text: str, table: str) -> bool:
    return table.replace('"', "'") in text.replace('"', "'")


def _without_version(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("version"))


_K0S: Final = Layout(
    name="k0s",
    program="/var/lib/k0s/bin/containerd",
    words=(
        "--root=/var/lib/k0s/containerd",
        "--state=/run/k0s/containerd",
        "--address=/run/k0s/containerd.sock",
        "--log-level=info",
        "--config=/etc/k0s/containerd.toml",
    ),
    socket="/run/k0s/containerd.sock",
    before_start=as_k0s_does,
    hosts="/etc/k0s/containerd.d/certs.d",
    edited="/etc/k0s/containerd.d/zz-registryd.toml",
    says=("k0s: containerd", "authorization.hosts_dir = /etc/k0s/containerd.d/certs.d"),
)

# MicroK8s: microk8s-resources/default-args, rendered by run-containerd-with-args

_SNAP: Final = "/var/snap/microk8s"


async def as_microk8s_does(node: NodeRoot, release: Release) -> None:
    """The template of the revision is rendered at each start."""
    args = f"{_SNAP}/current/args"
    template = node.at(f"{args}/containerd-template.toml").read_text()
    data = f"{_SNAP}/{node.at(f'{_SNAP}/current').readlink()}"
    node.write({f"{args}/containerd.toml": template.replace("${SNAP_DATA}", data)})


_MICROK8S: Final = Layout(
    name="MicroK8s",
    files={
        f"{_SNAP}/100/args/containerd-template.toml": "# Use config version 2 to enable new configuration fields.\n"
        f"version = 2\n[{OLD}]\n  sandbox_image = 'pause'\n{RUNC}"
        f"[{OLD}.registry]\n  config_path = '${{SNAP_DATA}}/args/certs.d'\n",
        f"{_SNAP}/100/args/certs.d/docker.io/hosts.toml": 'server = "https://docker.io"\n\n'
        '[host."https://registry-1.docker.io"]\n  capabilities = ["pull", "resolve"]\n',
    },
    program="/snap/microk8s/100/bin/containerd",
    words=(
        "--config",
        f"{_SNAP}/100/args/containerd.toml",
        "--root",
        f"{_SNAP}/common/var/lib/containerd",
        "--state",
        f"{_SNAP}/common/run/containerd",
        "--address",
        f"{_SNAP}/common/run/containerd.sock",
    ),
    socket=f"{_SNAP}/common/run/containerd.sock",
    before_start=as_microk8s_does,
    hosts=f"{_SNAP}/100/args/certs.d",
    says=("MicroK8s: containerd", f"authorization.hosts_dir = {_SNAP}/100/args/certs.d"),
)

# Systems whose file is not to be changed


def _read_only(name: str, path: str, text: str, says: str, *, hosts: str = "") -> Layout:
    folder = path.rpartition("/")[0]

    async def mount(node: NodeRoot, release: Release) -> None:
        if not node.at(folder).exists():
            node.write({path: text})
            await node.run("mount", "--bind", folder, folder)
            await node.run("mount", "-o", "remount,bind,ro", folder)

    return Layout(
        name=name,
        words=("--config", path),
        before_start=mount,
        hosts=hosts,
        says=(says,),
    )


_FLATCAR_TEXT: Final = f"version = 2\noom_score = -999\n{RUNC}"
_STORE: Final = "/nix/store/abc-containerd-config-checked.toml/config.toml"
_READ_ONLY: Final = (
    _read_only(
        "Flatcar", "/usr/share/containerd/config.toml", _FLATCAR_TEXT, "CONTAINERD_CONFIG=/etc/containerd/config.toml"
    ),
    Layout(
        name="Flatcar with a copy",
        files={CONFIG: _FLATCAR_TEXT},
        words=("--config", CONFIG),
        edited=CONFIG,
    ),
    _read_only("NixOS", _STORE, "version = 2\n", "virtualisation.containerd.settings"),
    _read_only(
        "NixOS with config_path", _STORE, f"version = 2\n{_OWN_PATH}", "certs.d/_default/hosts.toml", hosts=CERTS
    ),
)

LAYOUTS: Final = (*_BARE, *_WITH_NVIDIA, *_CLOUDS, *_RANCHER, _K0S, _MICROK8S, *_READ_ONLY)
