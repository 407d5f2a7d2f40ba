"""Actions of a command that need a confirmation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from registryd.failures import CommandFailed
from registryd.node.kubelet import find_kubelet
from registryd.node.tree import NodeTree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registryd.node.host_root import HostRoot

_REFUSAL: Final = (
    "--docker-config: what containerd pulls with these logins may be used by every pod of this node, because its "
    "kubelet has no record of it ({policy}). Say --for-every-pod if that is meant; let pods bring private images "
    "(the chart's prefetch.by: kubelet); or set the kubelet's imagePullCredentialsVerificationPolicy: AlwaysVerify"
)


def refuse_logins_for_every_pod(root: HostRoot, environment: Mapping[str, str] = os.environ) -> None:
    """Raise CommandFailed where a kubelet would let every pod use what is pulled here with a login.

    In a pod the kubelet of its node cannot be seen, and is there.
    """
    kubelet = find_kubelet(root, NodeTree(root))
    if kubelet is None:
        if "KUBERNETES_SERVICE_HOST" in environment:
            raise CommandFailed(_REFUSAL.format(policy="its policy cannot be seen from a pod"))
    elif not kubelet.verifies_all:
        where = f" in {kubelet.config}" if kubelet.config else ""
        raise CommandFailed(_REFUSAL.format(policy=f"its policy{where}: {kubelet.policy or 'not set'}"))
