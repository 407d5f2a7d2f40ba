"""The kubelet's policy for images on the node: which pods may use them, as its configuration says (KEP-2535)."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registryd.node.command_line import flag_in, is_of_the_node, words_of
from registryd.node.errors import PathProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registryd.node.host_root import HostRoot
    from registryd.node.tree import NodeFiles

_NAME: Final = "kubelet"
_FIELD: Final = "imagePullCredentialsVerificationPolicy"
# The field is one of the document's own, so in YAML it begins a line; or the document is JSON.
_IN_YAML: Final = re.compile(rf"^{_FIELD}:[ \t]*[\"']?([A-Za-z]*)", re.MULTILINE)
# Where the ways to run Kubernetes keep it, for where the kubelet's process cannot be seen: kubeadm and kind, EKS (both
# of its systems), GKE, k0s, Talos; folders of drop-ins: k3s and RKE2.
_FILES: Final = (
    "/var/lib/kubelet/config.yaml",
    "/etc/kubernetes/kubelet/config.json",
    "/etc/kubernetes/kubelet/kubelet-config.json",
    "/home/kubernetes/kubelet-config.yaml",
    "/var/lib/k0s/kubelet-config.yaml",
    "/etc/kubernetes/kubelet.yaml",
    "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
    "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d",
)
# With these, what came past the kubelet is open to no pod but those whose login its registry takes. (An administrator
# lists what is exempt from the second.)
_VERIFYING: Final = frozenset({"AlwaysVerify", "NeverVerifyAllowlistedImages"})


@dataclass(frozen=True, slots=True)
class Kubelet:
    """A kubelet of this node.

    Args:
        config: The file that sets its policy, or would; None: it is not known which.
        policy: As it is written there; empty: not set.
    """

    config: Path | None
    policy: str

    @property
    def verifies_all(self) -> bool:
        """Whether images that came past it are not simply open to every pod."""
        return self.policy in _VERIFYING


def find_kubelet(root: HostRoot, tree: NodeFiles) -> Kubelet | None:
    """The node's, by its process or by its files; None: there is none, or neither can be seen from here."""
    for words in _processes(root.path / "proc"):
        files = [*_files(tree, flag_in(words, ("--config",))), *_files(tree, flag_in(words, ("--config-dir",)))]
        return _kubelet(tree, files)
    for name in _FILES:
        if files := list(_files(tree, name)):
            return _kubelet(tree, files)
    return None


def _processes(proc: Path) -> Iterator[list[str]]:
    for folder in sorted(proc.glob("[0-9]*")):
        with suppress(OSError):  # it has ended meanwhile
            if (folder / "comm").read_text().strip() == _NAME and is_of_the_node(folder):
                yield words_of(folder)


def _files(tree: NodeFiles, name: str) -> Iterator[Path]:
    """The file itself, or the files of a folder in the order in which the kubelet merges them."""
    if not name:
        return
    path = Path("/") / name
    with suppress(PathProblem):
        if tree.is_folder(path):
            yield from (path / each for each in tree.names(path) if each.endswith(".conf"))
        elif tree.read(path) is not None:
            yield path


def _kubelet(tree: NodeFiles, files: list[Path]) -> Kubelet:
    """The policy of the last file that has one. This file counts for the kubelet."""
    said = [(path, policy) for path in files if (policy := _policy_in(tree, path))]
    if said:
        return Kubelet(*said[-1])
    return Kubelet(files[0] if files else None, "")


def _policy_in(tree: NodeFiles, path: Path) -> str:
    with suppress(PathProblem, ValueError):
        image = tree.read(path)
        text = image.text if image else ""
        if text.lstrip().startswith("{"):
            document = json.loads(text)
            return str(document.get(_FIELD) or "")
        found = _IN_YAML.findall(text)
        return str(found[-1]) if found else ""
    return ""
