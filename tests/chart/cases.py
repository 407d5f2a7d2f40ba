"""Values as people set them, one set for each thing that the chart can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MONITORS = {"podMonitor": {"enabled": True}}

# Files of values that come with the chart.
_DISTRIBUTIONS = sorted((Path(__file__).parents[2] / "charts/registryd/distributions").glob("*.yaml"))

CASES: dict[str, dict[str, Any]] = {
    **{path.stem: yaml.safe_load(path.read_text()) for path in _DISTRIBUTIONS},
    "defaults": {},
    "cert-manager": {"certManager": {"enabled": True}},
    "cert-manager, own issuer": {
        "certManager": {"enabled": True, "issuerRef": {"name": "peers", "kind": "ClusterIssuer"}},
    },
    "existing secret": {"clusterSecret": {"existingSecret": "mine", "key": "token"}},
    "insecure": {"peers": {"insecure": True}},
    "kept secret": {"clusterSecret": {"keep": True}},
    "IPv6": {"ipFamily": "IPv6", "monitoring": MONITORS},
    "all monitoring": {
        "monitoring": {
            "podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
            "serviceMonitor": {"enabled": True, "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}]},
            "prometheusRule": {"enabled": True, "labels": {"role": "alerts"}, "alertLabels": {"team": "platform"}},
            "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Nodes"}},
        }
    },
    "exposed without operator": {"monitoring": {"expose": True}},
    "network policy": {
        "networkPolicy": {
            "enabled": True,
            "nodeCidrs": ["10.0.0.0/8", "fd00::/8"],
            "extraIngress": [{"ports": [{"port": "admin", "protocol": "TCP"}]}],
        }
    },
    "autoscaler": {"verticalPodAutoscaler": {"enabled": True}},
    "a company's registries": {
        "containerd": {
            "hostsFiles": ["/etc/containerd/company.crt", "/etc/pki/company"],
            "trustBundle": "/etc/pki/tls/certs/ca-bundle.crt",
        }
    },
    "Talos": {"nodeSetup": {"enabled": False}, "registry": {"port": 5172}},
    "some registries": {
        "mirroredRegistries": ["docker.io", "ghcr.io", "registry.example:5000", "[fd00::5]:5000"],
        "authorization": {"mode": "upstream", "registries": {"docker.io": "public", "ghcr.io": "open"}},
    },
    "several namespaces": {"containerd": {"namespaces": ["k8s.io", "moby", "default"]}},
    "own ports": {
        "registry": {"port": 5001},
        "peers": {"port": 5002, "contentPort": 5003},
        "admin": {"port": 5004},
    },
    "further settings": {
        "settings": {
            "peers": {"find_timeout": "2s", "fanout_limit": 1_000_000},
            "agent": {"shutdown_timeout": "20s"},
            "authorization": {"registries": {"docker.io": "upstream"}},
        }
    },
    "everything of pods": {
        "image": {"repository": "registry.example/registryd", "digest": "sha256:" + "a" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "commonLabels": {"team": "platform"},
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/note": "yes"},
        "priorityClassName": "",
        "nodeSelector": {"pool": "workers"},
        "tolerations": [],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]
                }
            }
        },
        "updateStrategy": {"type": "OnDelete", "rollingUpdate": None},
        "serviceAccount": {"name": "agents", "annotations": {"example.com/role": "none"}},
        "nodeSetup": {"extraArgs": ["--restart-containerd"]},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        "extraArgs": ["--log.level=debug"],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "resources": {},
        "securityContext": {"seLinuxOptions": {"type": "spc_t"}},
    },
    "cache": {"cache": {"enabled": True}},
    "cache alone": {"agent": {"enabled": False}, "cache": {"enabled": True}},
    "cache with everything": {
        "authorization": {"mode": "open"},
        "monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
        "networkPolicy": {"enabled": True, "nodeCidrs": ["10.0.0.0/8"]},
        "cache": {
            "enabled": True,
            "nextEndpoint": {"enabled": True},
            "upstreams": {
                "allow": ["docker.io", "registry.example:5000", "*"],
                "registries": {
                    "ghcr.io": {"url": "https://harbor.corp/v2/proxy-ghcr.io", "override_path": True},
                    "quay.io": {
                        "mirrors": ["https://mirror.corp"],
                        "username": "me",
                        "password_file": "/etc/registryd/upstreams/quay",
                        "trust_for": "1m",
                    },
                },
                "dockerConfigSecret": "logins",
                "filesSecret": "passwords",
            },
            "tags": "trust",
            "sizeLimit": "40GiB",
            "keepFree": "2GiB",
            "pinned": ["registry.k8s.io/*", "*/pause:*"],
            "persistence": {"size": "1Ti", "storageClass": "fast", "annotations": {"helm.sh/resource-policy": "keep"}},
            "service": {"type": "NodePort", "nodePort": 30172, "annotations": {"example.com/note": "yes"}},
            "tokenSecret": {"name": "cache-token"},
            "tlsSecret": "cache-tls",
            "settings": {"cache": {"trust_for": "10m"}},
            "podLabels": {"team": "platform"},
            "podAnnotations": {"example.com/note": "yes"},
            "priorityClassName": "high",
            "tolerations": [{"operator": "Exists"}],
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
            "extraArgs": ["--log.level=debug"],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        },
    },
    "cache without a volume": {
        "cache": {"enabled": True, "member": False, "persistence": {"enabled": False}, "sizeLimit": "10GiB"},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    },
    "cache on a claim that is there, IPv6": {
        "ipFamily": "IPv6",
        "cache": {
            "enabled": True,
            "persistence": {"existingClaim": "mine"},
            "service": {"clusterIP": "fd00::172"},
            "nextEndpoint": {"enabled": True},
        },
    },
    "cache elsewhere": {
        "cache": {"nextEndpoint": {"enabled": True, "url": "http://cache.corp:3172"}, "tokenSecret": {"name": "token"}}
    },
    "kept images": {"images": {"keep": ["ghcr.io/corp/* copies=3 zones=2", "*:v1 copies=2"], "keepMaxSize": "50GiB"}},
    "blocked images": {"images": {"block": ["sha256:" + "b" * 64, "ghcr.io/corp/app:1.2.3"]}},
    "blocked by a list of one's own": {"images": {"blockConfigMap": "blocked"}},
    "prefetch": {"prefetch": {"images": ["docker.io/library/alpine:3", "ghcr.io/acme/app:v1"]}},
    "prefetch with logins": {
        "prefetch": {
            "images": ["alpine"],
            "dockerConfigSecret": "logins",
            "forEveryPod": True,
            "priorityClassName": "low",
            "parallel": 4,
            "maxUnavailable": 2,
        },
        "containerd": {"socket": "/run/k3s/containerd/containerd.sock"},
    },
    "events of pulls": {"pulls": {"events": True}},
    "bandwidth": {
        "bandwidth": {"limits": ["mon-fri 08:00-18:00 upload=20MiB download=50MiB", "background=10%"]},
        "prefetch": {"images": ["alpine"]},
        "monitoring": {"expose": True},
    },
    "pinned prefetch": {
        "prefetch": {"images": ["alpine"], "pin": True, "nodeSelector": {"pool": "gpu"}, "maxUnavailable": 2},
    },
    "pinned prefetch by kubelets": {
        "prefetch": {"images": ["alpine"], "pin": True, "by": "kubelet", "dockerConfigSecret": "logins"},
    },
    "prefetch by kubelets": {
        "prefetch": {"images": ["alpine", "ghcr.io/acme/app:v1"], "by": "kubelet", "dockerConfigSecret": "logins"},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "lists of their own nodes": {
        "prefetch": {
            "images": ["alpine"],
            "pin": True,
            "nodeSelector": {"pool": "web"},
            "maxUnavailable": 2,
            "lists": {
                "gpu": {"images": ["ghcr.io/corp/model:v1"], "nodeSelector": {"pool": "gpu"}, "parallel": 1},
                "private": {"images": ["app", "db"], "by": "kubelet", "dockerConfigSecret": "logins", "pin": False},
                "of-none": {"images": []},
            },
        },
    },
    "own account": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    "other namespace": {"namespaceOverride": "images"},
    "other name": {"fullnameOverride": "mirror"},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown value": ({"registries": ["docker.io"]}, "registries"),
    "unknown value below": ({"peers": {"ports": 1}}, "peers"),
    "port": ({"registry": {"port": 70000}}, "port"),
    "port as text": ({"registry": {"port": "3172"}}, "port"),
    "mode": ({"authorization": {"mode": "everyone"}}, "mode"),
    "mode of a registry": ({"authorization": {"registries": {"ghcr.io": "maybe"}}}, "registries"),
    "registry with a path": ({"mirroredRegistries": ["docker.io/library"]}, "mirroredRegistries"),
    "registry with a scheme": ({"mirroredRegistries": ["https://docker.io"]}, "mirroredRegistries"),
    "relative path": ({"containerd": {"root": "var/lib"}}, "root"),
    "relative folder of hosts": ({"containerd": {"hostsDir": "certs.d"}}, "hostsDir"),
    "no namespaces": ({"containerd": {"namespaces": []}}, "namespaces"),
    "digest": ({"image": {"digest": "sha256:abc"}}, "digest"),
    "family": ({"ipFamily": "IPv5"}, "ipFamily"),
    "surge": ({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}, "rollingUpdate"),
    "a login for every pod": (
        {"prefetch": {"images": ["alpine"], "dockerConfigSecret": "logins"}},
        "open to every pod of every node",
    ),
    "tags": ({"cache": {"tags": "never"}}, "tags"),
    "table of an upstream": ({"cache": {"upstreams": {"registries": {"ghcr.io": {"uri": "x"}}}}}, "ghcr.io"),
    "size": ({"cache": {"sizeLimit": "40"}}, "sizeLimit"),
    "a volume of no size": (
        {"cache": {"enabled": True, "persistence": {"enabled": False}}},
        r"cache\.sizeLimit: needed without cache\.persistence",
    ),
    "a cache that nodes cannot find": (
        {"cache": {"enabled": True, "nextEndpoint": {"enabled": True}}},
        r"set cache\.service\.clusterIP",
    ),
    "a cache that is not there": ({"cache": {"nextEndpoint": {"enabled": True}}}, "give its url"),
    "a rule with a blank": ({"images": {"block": ["ghcr.io/corp/app latest"]}}, "block"),
    "an image with a blank": ({"prefetch": {"images": ["a b"]}}, "images"),
    "a list without images": ({"prefetch": {"lists": {"gpu": {"nodeSelector": {"pool": "gpu"}}}}}, "images"),
    "a list whose name is no label": ({"prefetch": {"lists": {"GPU": {"images": ["a"]}}}}, "/prefetch/lists.*GPU"),
    "a list with a dot": ({"prefetch": {"lists": {"a.b": {"images": ["a"]}}}}, r"/prefetch/lists.*a\.b"),
    "a list that ends in hyphens": ({"prefetch": {"lists": {"a--": {"images": ["a"]}}}}, "/prefetch/lists.*a--"),
    "a list that is nothing": ({"prefetch": {"lists": {"gpu": None}}}, "/prefetch/lists/gpu"),
    "a repository with a tag": (
        {"image": {"repository": "ghcr.io/registryd/registryd:v1"}},
        r'image\.repository: "ghcr.io/registryd/registryd:v1" is no repository: .* image\.tag',
    ),
    "no repository": ({"image": {"repository": ""}}, r'image\.repository: "" is no repository'),
    "a tag with a digest": ({"image": {"tag": "v1@sha256:abc"}}, r"image\.tag: .* is no tag"),
    "a tag that is a number": ({"image": {"tag": 1.5}}, "/image/tag"),
    "two doors at one port": ({"registry": {"port": 3173}}, r"peers\.port and registry\.port are both 3173"),
    "two ways to be a member": (
        {"peers": {"insecure": True}, "certManager": {"enabled": True}},
        r"peers\.insecure and certManager\.enabled: .*set one of these",
    ),
    "a secret and certificates": (
        {"clusterSecret": {"existingSecret": "mine"}, "certManager": {"enabled": True}},
        r"certManager\.enabled and clusterSecret\.existingSecret",
    ),
    "nothing": ({"agent": {"enabled": False}}, "there is nothing to install"),
    "two lists of blocked images": (
        {"images": {"block": ["ghcr.io/corp/app:v1"], "blockConfigMap": "mine"}},
        r"images\.block and images\.blockConfigMap",
    ),
    "registries that nobody writes": (
        {"nodeSetup": {"enabled": False}, "mirroredRegistries": ["docker.io"]},
        r"mirroredRegistries: without nodeSetup\.enabled",
    ),
    "a name with a dot": ({"fullnameOverride": "a.b"}, "/fullnameOverride"),
    "a namespace with a dot": ({"namespaceOverride": "a.b"}, "/namespaceOverride"),
    "the name of a Secret": ({"clusterSecret": {"existingSecret": "a..b"}}, "/clusterSecret/existingSecret"),
    "a label's value": ({"podLabels": {"note": "two words"}}, "/podLabels/note"),
    "a list with a login for every pod": (
        {"prefetch": {"lists": {"gpu": {"images": ["a"], "dockerConfigSecret": "logins"}}}},
        r"prefetch\.lists\.gpu\.dockerConfigSecret with prefetch\.lists\.gpu\.by: agent",
    ),
    "settings without section": ({"settings": {"find_timeout": "2s"}}, "settings"),
}
