"""Uses of the Kubernetes API besides discovery; apart from `assembly`, because most agents need none of them."""

from __future__ import annotations

from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, NotInCluster
from registryd.cluster.members.discovery.kubernetes.pod_events import Pod, open_pod_events

__all__ = ["ApiFailed", "NotInCluster", "Pod", "open_pod_events"]
