"""What an agent may want of the Kubernetes API besides discovery; apart from `assembly`, as most agents need none."""

from __future__ import annotations

from registryd.cluster.members.discovery.kubernetes.errors import ApiFailed, NotInCluster
from registryd.cluster.members.discovery.kubernetes.pod_events import Pod, open_pod_events

__all__ = ["ApiFailed", "NotInCluster", "Pod", "open_pod_events"]
