"""What a node's programs are told: containerd, its pod network, kubelet and kube-proxy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lab.toml_text import merged, to_toml

if TYPE_CHECKING:
    from pathlib import Path

    from lab.toml_text import Table, Value
    from lab.versions import Release

PAUSE = "registry.lab/pause:1"
POD_NETWORK = "10.244.0.0/16"
SOCKET = "/run/containerd/containerd.sock"
HOSTS = "/etc/containerd/certs.d"
_PLUGINS = "/usr/lib/cni"  # Debian's containernetworking-plugins
_VERSION_3_SINCE = (2, 0, 0)
# Storage drivers that need devices or modules of their own, and what talks to somebody outside.
_DISABLED = [
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs", "blockfile", "erofs")),
    "io.containerd.nri.v1.nri",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
]


def containerd_toml(release: Release, extra: Table) -> str:
    """At containerd's own places. As set-up guides for kubeadm have it, plus what root may not do in this sandbox."""
    is_version_3 = release.version >= _VERSION_3_SINCE
    # Root may not lower an oom_score_adj everywhere, and without that no sandbox starts.
    runtime: Table = {"restrict_oom_score_adj": True, "cni": _cni(is_version_3=is_version_3), "containerd": _RUNC}
    registry: Table = {"config_path": HOSTS}
    plugins: Table
    if is_version_3:
        plugins = {
            "io.containerd.cri.v1.images": {"registry": registry, "pinned_images": {"sandbox": PAUSE}},
            "io.containerd.cri.v1.runtime": runtime,
        }
    else:
        plugins = {"io.containerd.grpc.v1.cri": {**runtime, "registry": registry, "sandbox_image": PAUSE}}
    config: Table = {"version": 3 if is_version_3 else 2, "disabled_plugins": _DISABLED, "plugins": plugins}
    return to_toml(merged(config, extra))


_RUNC: Table = {"runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": False}}}}


def _cni(*, is_version_3: bool) -> dict[str, Value]:
    binaries: Table = {"bin_dirs": [_PLUGINS]} if is_version_3 else {"bin_dir": _PLUGINS}
    return {**binaries, "conf_dir": "/etc/cni/net.d"}


def cni_json(pods: str) -> str:
    """Pods on a bridge, with addresses of this network; other nodes' are reached by routes."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, ports]})


def kubelet_json(*, authority: Path, cgroup: str, extra: dict[str, Any]) -> str:
    """Kubernetes' defaults but for what this sandbox cannot do."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"x509": {"clientCAFile": str(authority)}},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "volumePluginDir": "/var/lib/kubelet/plugins/volume",
        # The disk is this machine's, and how full it is nobody's business here.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        # Pods that wait for images are looked at sooner than after a minute: it is what the tests wait for.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        **extra,
    }
    return json.dumps(config)


def proxy_json(*, kubeconfig: Path, name: str) -> str:
    """Services as in life, by iptables; the kernel's table of connections is this machine's, and is left alone."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": name,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(config)
