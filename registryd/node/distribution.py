"""Where the ways to run Kubernetes keep containerd's files, known by those files and by how containerd was started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from registryd.node.tree import NodeFiles


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution that makes a node's configuration.

    Args:
        config: containerd's main file.
        hosts: What `config_path` is set to where nothing sets it.
        programs: Where its containerd may be, first found first taken.
        socket: Where its containerd answers.
        drop_ins: The folder of the files that it makes containerd's configuration of; None: it makes it of none.
        instead: Where `config_path` can be set, if the main file is not to be changed: a sentence. Empty: in that file.
        restart: The command that makes containerd read its configuration again.
        restarted_by: The same in words, where there is no one command.
    """

    name: str
    config: Path
    hosts: Path
    programs: tuple[Path, ...]
    socket: Path = Path("/run/containerd/containerd.sock")
    drop_ins: Path | None = None
    instead: str = ""
    restart: tuple[str, ...] = ("systemctl", "restart", "containerd")
    restarted_by: str = ""

    @property
    def how_to_restart(self) -> str:
        return " ".join(self.restart) or self.restarted_by or f"restart {self.name}"


PLAIN: Final = Distribution(
    "containerd",
    Path("/etc/containerd/config.toml"),
    Path("/etc/containerd/certs.d"),
    (Path("/usr/bin/containerd"), Path("/usr/local/bin/containerd"), Path("/opt/bin/containerd")),
)


def _of_rancher(name: str, home: Path) -> Distribution:
    """The paths of k3s (pkg/agent/containerd/config.go), and of RKE2, which embeds k3s."""
    etc = home / "agent/etc/containerd"
    binary = home / ("data/current/bin" if name == "k3s" else "bin") / "containerd"
    return Distribution(
        name,
        etc / "config.toml",
        etc / "certs.d",
        (binary,),
        Path("/run/k3s/containerd/containerd.sock"),
        instead=f"{name} writes it at each start: set config_path in its config.toml.tmpl, or remove a template that "
        "does not set it",
        restart=(),
    )


_K3S: Final = _of_rancher("k3s", Path("/var/lib/rancher/k3s"))
_RKE2: Final = _of_rancher("RKE2", Path("/var/lib/rancher/rke2"))
# docs/runtime.md of k0s.
_K0S: Final = Distribution(
    "k0s",
    Path("/etc/k0s/containerd.toml"),
    Path("/etc/k0s/containerd.d/certs.d"),
    (Path("/var/lib/k0s/bin/containerd"),),
    Path("/run/k0s/containerd.sock"),
    drop_ins=Path("/etc/k0s/containerd.d"),
    restart=(),
    restarted_by="restart k0s (systemctl restart k0sworker, or k0scontroller)",
)
_K0S_MANAGES: Final = b"# k0s_managed=true\n"
# default-args/containerd of MicroK8s; `current` leads to the folder of the revision.
_SNAP: Final = Path("/var/snap/microk8s/current/args")
_MICROK8S: Final = Distribution(
    "MicroK8s",
    _SNAP / "containerd.toml",
    _SNAP / "certs.d",
    (Path("/snap/microk8s/current/bin/containerd"),),
    Path("/var/snap/microk8s/common/run/containerd.sock"),
    instead="MicroK8s writes it at each start: set config_path in the containerd-template.toml beside it",
    restart=("snap", "restart", "microk8s.daemon-containerd"),
)
# The special ones first: a node of theirs may have an unused /etc/containerd from a package, too.
# Its files are Talos' to write, and ours to read.
TALOS: Final = Distribution(
    "Talos", Path("/etc/cri/containerd.toml"), Path("/etc/cri/conf.d/hosts"), (), instead="Talos writes it", restart=()
)
_SPECIAL: Final = (_K3S, _RKE2, _K0S, _MICROK8S)
ALL: Final = (PLAIN, *_SPECIAL)

_FLATCAR: Final = (
    "it belongs to the read-only image of Flatcar: copy it to /etc/containerd/config.toml, have a drop-in of "
    "containerd.service say [Service] Environment=CONTAINERD_CONFIG=/etc/containerd/config.toml, restart containerd, "
    "and install again"
)
_NIXOS: Final = (
    'NixOS builds it: set config_path = "/etc/containerd/certs.d" in virtualisation.containerd.settings, below '
    'plugins."io.containerd.cri.v1.images".registry (containerd 1: "io.containerd.grpc.v1.cri"), rebuild, and install '
    "again"
)
_KEPT_BY_OTHERS: Final = ((Path("/usr"), "Flatcar", _FLATCAR), (Path("/nix/store"), "NixOS", _NIXOS))


def find_distribution(tree: NodeFiles, config: Path | None = None) -> Distribution:
    """Whose node this is: by the main file that containerd was started with, else by the files that are there."""
    release = tree.read(Path("/etc/os-release"))
    if release and b"\nID=talos" in b"\n" + release.data:
        return TALOS
    if config is None:
        return next((_as_it_is(tree, each) for each in _SPECIAL if tree.read(each.config)), PLAIN)
    return _started_with(tree, config)


def _started_with(tree: NodeFiles, config: Path) -> Distribution:
    canonical = tree.canonical(config)
    for each in ALL:
        if canonical == tree.canonical(each.config):
            return _as_it_is(tree, each)
    if config.match("agent/etc/containerd/config.toml"):  # k3s and RKE2 with a --data-dir
        return _of_rancher("RKE2" if "rke2" in str(config) else "k3s", config.parents[3])
    for above, name, instead in _KEPT_BY_OTHERS:
        if canonical.is_relative_to(above) and tree.is_read_only(canonical):
            return replace(PLAIN, name=name, config=config, instead=instead)
    return replace(PLAIN, config=config)


def _as_it_is(tree: NodeFiles, distribution: Distribution) -> Distribution:
    """The distribution as this node has it: k0s leaves a main file alone whose first line was removed."""
    image = tree.read(distribution.config)
    is_taken_over = distribution.drop_ins and image and not image.data.startswith(_K0S_MANAGES)
    return replace(distribution, drop_ins=None) if is_taken_over else distribution
