"""Where the ways to run Kubernetes keep containerd's files, known by those files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registryd.node.errors import UnsupportedNode

if TYPE_CHECKING:
    from registryd.node.tree import Tree


@dataclass(frozen=True, slots=True)
class Distribution:
    """Whose configuration it is.

    Args:
        config: containerd's main file.
        hosts: What `config_path` is set to where nothing sets it.
        programs: Where its containerd may be, first found first taken.
        generated: Who writes the files again at each start; empty: nobody.
        restart: The command that makes containerd read its configuration again.
    """

    name: str
    config: Path
    hosts: Path
    programs: tuple[Path, ...]
    generated: str = ""
    restart: tuple[str, ...] = ("systemctl", "restart", "containerd")


def _of_rancher(name: str, program: str) -> Distribution:
    # k3s: pkg/agent/containerd/config.go; RKE2 embeds it.
    home = Path("/var/lib/rancher") / program
    etc = home / "agent/etc/containerd"
    binary = home / ("data/current/bin" if program == "k3s" else "bin") / "containerd"
    return Distribution(name, etc / "config.toml", etc / "certs.d", (binary,), generated=name, restart=())


PLAIN = Distribution(
    "containerd",
    Path("/etc/containerd/config.toml"),
    Path("/etc/containerd/certs.d"),
    (Path("/usr/bin/containerd"), Path("/usr/local/bin/containerd"), Path("/opt/bin/containerd")),
)
# The special ones first: a node of theirs may have an unused /etc/containerd from a package, too.
_SPECIAL = (_of_rancher("k3s", "k3s"), _of_rancher("RKE2", "rke2"))


def find_distribution(tree: Tree) -> Distribution:
    """Whose node this is. Raises UnsupportedNode on Talos, whose files are written by Talos alone."""
    release = tree.read(Path("/etc/os-release"))
    if release and b"\nID=talos" in b"\n" + release.data:
        raise UnsupportedNode("this is Talos, whose files are read-only: use `registryd talos`, which prints documents")
    return next((each for each in _SPECIAL if tree.read(each.config)), PLAIN)
