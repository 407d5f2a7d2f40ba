"""The cache and the prefetching of the chart: what they are started with, what they may, what nodes are told."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.ports import free_ports
from registryd.agent.exposure import check_exposure
from registryd.config.agent import AuthorizationMode, DiscoveryKind, check
from registryd.config.cache import TagMode
from registryd.config.loader import load
from registryd.identity.secret import new_secret
from tests.chart.cases import CASES
from tests.chart.conftest import Helm, Object, Rendered, variables_of
from tests.chart.test_rendering import settings_of
from tests.fakes.cri import FakeImages, serve_images

if TYPE_CHECKING:
    from registryd.config.agent import Settings

POD_IP = {"IPv4": "10.244.1.7", "IPv6": "fd00:244::7"}
WITH_CACHE = {name: values for name, values in CASES.items() if values.get("cache", {}).get("enabled")}


def cache_settings_of(rendered: Rendered, *, family: str = "IPv4") -> Settings:
    """What a cache started with this pod's variables would run with."""
    given = {"POD_IP": POD_IP[family], "POD_NAME": "registryd-cache-0"}
    return load(flags={}, environment=variables_of(rendered.cache, given), file=None)


# Its settings


@pytest.mark.parametrize("values", WITH_CACHE.values(), ids=WITH_CACHE)
def test_the_cache_accepts_the_settings(helm: Helm, values: Object) -> None:
    family = values.get("ipFamily", "IPv4")
    settings = cache_settings_of(helm.render(values), family=family)
    check_exposure(settings)
    assert settings.cache.listen.port == 3172
    assert settings.admin.listen.host == POD_IP[family]
    assert settings.store.directory == Path("/var/lib/registryd")


def test_what_values_say_of_it_arrives(helm: Helm) -> None:
    settings = cache_settings_of(helm.render(CASES["cache with everything"]))
    ghcr, quay = settings.upstreams.registries["ghcr.io"], settings.upstreams.registries["quay.io"]
    assert (ghcr.url, ghcr.override_path) == ("https://harbor.corp/v2/proxy-ghcr.io", True)
    assert (quay.password_file, quay.trust_for) == (Path("/etc/registryd/upstreams/quay"), 60)
    assert settings.upstreams.allow == ("docker.io", "registry.example:5000", "*")
    assert (settings.cache.tags, settings.cache.trust_for) == (TagMode.TRUST, 600)
    assert (settings.cache.size_limit, settings.cache.keep_free) == (40 << 30, 2 << 30)
    assert settings.cache.pinned == ("registry.k8s.io/*", "*/pause:*")
    assert settings.authorization.mode is AuthorizationMode.OPEN


def test_the_files_that_settings_name_are_mounted(helm: Helm) -> None:
    rendered = helm.render(CASES["cache with everything"])
    settings = cache_settings_of(rendered)
    folders = {Path(mount["mountPath"]) for mount in rendered.cache["volumeMounts"]}
    files = [
        settings.upstreams.docker_config,
        settings.cache.token_file,
        settings.cache.tls_cert,
        settings.peers.secret_file,
        settings.upstreams.registries["quay.io"].password_file,
    ]
    assert {file.parent for file in files if file} <= folders
    assert all(files)
    assert {mount["name"] for mount in rendered.cache["volumeMounts"]} == {
        volume["name"] for volume in rendered.cache_pod["volumes"]
    }


# In the cluster


def test_a_member_is_found_with_the_agents_and_finds_them(helm: Helm) -> None:
    rendered = helm.render(CASES["cache"])
    cache, agent = cache_settings_of(rendered), settings_of(rendered)
    check(cache)
    assert cache.cache.member
    assert cache.discovery == agent.discovery
    assert cache.discovery.kind is DiscoveryKind.KUBERNETES
    assert (cache.peers.listen.host, cache.peers.advertise) == (POD_IP["IPv4"], POD_IP["IPv4"])
    assert cache.peers.secret_file == agent.peers.secret_file
    service = rendered.one("Service")["spec"]
    for kind, name in (("DaemonSet", "registryd"), ("Deployment", "registryd-cache")):
        template = rendered.one(kind, name)["spec"]["template"]
        assert service["selector"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["ports"]} <= ports
    assert rendered.cache_pod["serviceAccountName"] == rendered.pod["serviceAccountName"]


def test_neither_controller_takes_the_others_pods(helm: Helm) -> None:
    rendered = helm.render({"cache": {"enabled": True}, "prefetch": {"images": ["alpine"]}})
    controllers = [each for each in rendered.objects if each["kind"] in {"DaemonSet", "Deployment"}]
    assert len(controllers) == 4
    for each in controllers:
        selector = each["spec"]["selector"]["matchLabels"].items()
        templates = [other["spec"]["template"]["metadata"]["labels"].items() for other in controllers]
        assert sum(selector <= labels for labels in templates) == 1


def test_a_cache_that_is_no_member_has_no_secret_and_no_account(helm: Helm) -> None:
    for case in ("cache alone", "cache without a volume"):
        rendered = helm.render(CASES[case])
        assert not cache_settings_of(rendered).cache.member
        assert "peers" not in {volume["name"] for volume in rendered.cache_pod["volumes"]}
        assert rendered.cache_pod["automountServiceAccountToken"] is False


def test_alone_it_is_all_there_is(helm: Helm) -> None:
    kinds = {(each["kind"], each["metadata"]["name"]) for each in helm.render(CASES["cache alone"]).objects}
    assert kinds == {(kind, "registryd-cache") for kind in ("Deployment", "PersistentVolumeClaim", "Service")}


def test_it_may_nothing_and_writes_to_its_volume_only(helm: Helm) -> None:
    rendered = helm.render(CASES["cache with everything"])
    pod, container = rendered.cache_pod["securityContext"], rendered.cache["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] == pod["fsGroup"] == 65532
    assert container["readOnlyRootFilesystem"]
    assert not container["allowPrivilegeEscalation"]
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert "hostNetwork" not in rendered.cache_pod
    writable = [mount["name"] for mount in rendered.cache["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["store", "tmp", "more"]


@pytest.mark.parametrize(
    ("case", "store"),
    [
        ("cache", {"persistentVolumeClaim": {"claimName": "registryd-cache"}}),
        ("cache on a claim that is there, IPv6", {"persistentVolumeClaim": {"claimName": "mine"}}),
        ("cache without a volume", {"emptyDir": {}}),
    ],
)
def test_where_it_keeps_things(helm: Helm, case: str, store: Object) -> None:
    rendered = helm.render(CASES[case])
    (volume,) = [volume for volume in rendered.cache_pod["volumes"] if volume["name"] == "store"]
    assert volume == {"name": "store"} | store
    claims = [claim["metadata"]["name"] for claim in rendered.all("PersistentVolumeClaim")]
    assert claims == (["registryd-cache"] if case == "cache" else [])


@pytest.mark.parametrize(
    ("case", "family", "endpoint"),
    [
        ("cache with everything", "IPv4", "https://10.1.2.3:30172"),
        ("cache on a claim that is there, IPv6", "IPv6", "http://[fd00::172]:3172"),
        ("cache elsewhere", "IPv4", "http://cache.corp:3172"),
    ],
)
def test_nodes_are_told_of_it(helm: Helm, case: str, family: str, endpoint: str) -> None:
    rendered = helm.render(CASES[case])
    settings = settings_of(rendered, family=family).registry
    assert settings.next_endpoints == (endpoint,)
    (install,) = rendered.pod["initContainers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in install["volumeMounts"]}
    if settings.next_token_file:
        volumes = {volume["name"]: volume for volume in rendered.pod["volumes"]}
        (item,) = volumes[mounts[str(settings.next_token_file.parent)]]["secret"]["items"]
        assert item["path"] == settings.next_token_file.name
    assert settings_of(helm.render(CASES["cache"])).registry.next_endpoints == ()


def test_scraping_reaches_every_pod_once(helm: Helm) -> None:
    for case, members in (("cache with everything", 1), ("cache without a volume", 0)):
        rendered = helm.render(CASES[case])
        services = {
            each["metadata"]["name"]: {port["name"] for port in each["spec"]["ports"]}
            for each in rendered.all("Service")
        }
        assert "admin" in services["registryd"]
        # A member is behind the service of the agents as well.
        assert ("admin" in services["registryd-cache"]) == (not members)
        (monitor,) = rendered.all("ServiceMonitor")
        (expression,) = monitor["spec"]["selector"]["matchExpressions"]
        for each in rendered.all("Service"):
            assert each["metadata"]["labels"][expression["key"]] in expression["values"]


def test_a_policy_lets_nodes_and_members_in(helm: Helm) -> None:
    policy = helm.render(CASES["cache with everything"]).one("NetworkPolicy", "registryd-cache")["spec"]
    (rule,) = policy["ingress"]
    assert {port["port"] for port in rule["ports"]} == {"registry", "admin", "peers", "bytes"}
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in rule["from"]


# Run for real


@pytest.mark.parametrize("is_member", [True, False])
def test_the_containers_command_line_starts_a_cache(helm: Helm, tmp_path: Path, *, is_member: bool) -> None:
    """As the kubelet would start it, with its files and addresses where this test has some."""
    registry, admin, peers, content = free_ports(4)
    settings: dict[str, Any] = {
        "cache": {"listen": f"127.0.0.1:{registry}", "keep_free": "0B"},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "store": {"directory": str(tmp_path / "store")},
    }
    if is_member:
        secret = tmp_path / "secret"
        secret.write_text(new_secret())
        secret.chmod(0o600)
        # Not Kubernetes, of which there is none here; e2e/test_kubernetes_discovery.py has that.
        settings["discovery"] = {"kind": "static"}
        settings["peers"] = {
            "listen": f"127.0.0.1:{peers}",
            "content_listen": f"127.0.0.1:{content}",
            "secret_file": str(secret),
        }
    values = {"cache": {"enabled": True, "member": is_member, "pinned": ["*"], "settings": settings}}
    container = helm.render(values).cache
    variables = variables_of(container, {"POD_IP": "127.0.0.1", "POD_NAME": "cache-0"})
    command = [sys.executable, "-m", "registryd", *container["args"]]
    with subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            started = next(line for line in process.stderr if '"caching"' in line)
            assert json.loads(started)["registry"] == f"127.0.0.1:{registry}"
            with socket.create_connection(("127.0.0.1", registry)) as connection:
                connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
                assert b" 200 " in connection.recv(100)
            if is_member:
                socket.create_connection(("127.0.0.1", peers)).close()
        finally:
            process.terminate()
            process.stderr.read()
    assert process.returncode == 0


# Prefetching


def _prefetch(rendered: Rendered) -> Object:
    spec = rendered.one("DaemonSet", "registryd-prefetch")["spec"]["template"]["spec"]
    (container,) = spec["initContainers"]
    return {"spec": spec, "container": container}


async def test_the_containers_command_line_prefetches(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.render(CASES["prefetch with logins"])
    container = _prefetch(rendered)["container"]
    (tmp_path / "images.txt").write_text(rendered.one("ConfigMap", "registryd-prefetch")["data"]["images.txt"])
    (tmp_path / "config.json").write_text("{}")
    images = FakeImages()
    arguments = []
    for argument in container["args"]:
        flag, _, value = argument.partition("=")
        here = "c.sock" if flag == "--containerd-socket" else Path(value).name
        arguments.append(f"{flag}={tmp_path / here}" if value.startswith("/") else argument)
    async with serve_images(images, tmp_path / "c.sock"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "registryd", *arguments, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    assert process.returncode == 0
    assert [name for name, _ in images.pulls] == ["docker.io/library/alpine:latest"]
    assert b"1 image, none incomplete" in said
    assert (tmp_path / "termination-log").read_text() == "1 of 1 images"


def test_prefetching_sees_the_socket_and_nothing_else_of_the_node(helm: Helm) -> None:
    rendered = helm.render(CASES["prefetch with logins"])
    found = _prefetch(rendered)
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in found["spec"]["volumes"] if "hostPath" in volume}
    assert paths == {"containerd": "/run/k3s/containerd"}
    mounts = {mount["name"]: mount for mount in found["container"]["volumeMounts"]}
    assert mounts["containerd"]["readOnly"]
    assert "--containerd-socket=/run/k3s/containerd/containerd.sock" in found["container"]["args"]
    for container in (found["container"], *found["spec"]["containers"]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]


def test_another_list_makes_other_pods(helm: Helm) -> None:
    def annotations(*images: str) -> Object:
        rendered = helm.render({"prefetch": {"images": list(images)}})
        found: Object = rendered.one("DaemonSet", "registryd-prefetch")["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations("a") == annotations("a") != annotations("a", "b")
    assert not [each for each in helm.render().objects if "prefetch" in each["metadata"]["name"]]
