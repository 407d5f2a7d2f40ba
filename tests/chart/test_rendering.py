"""What the chart makes of values: valid for every supported Kubernetes, accepted by the agent, and what we promise."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from helm_python import HelmError
from helm_python.chart import lint

from registryd.config.agent import AuthorizationMode, DiscoveryKind, PeerTransport, Settings, check
from registryd.config.bandwidth import parse_limits
from registryd.config.loader import load
from registryd.config.options import all_options
from registryd.identity.lines import parse_lines
from registryd.notation import Address
from tests.chart.cases import CASES, REFUSED
from tests.chart.conftest import CHART, NAMESPACE, Helm, Object, Rendered, variables_of

# The oldest that Chart.yaml allows, and those that are alive or were until lately.
KUBERNETES = ("1.25", *(f"1.{minor}" for minor in range(32, 38)))
# Kinds of operators: their schemas do not come with Kubernetes.
OF_OPERATORS = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "Certificate", "Issuer", "VerticalPodAutoscaler"}
HOST_IP = {"IPv4": "10.1.2.3", "IPv6": "fd00::3"}


@cache
def validate(text: str, version: str) -> None:
    """Raises what kubernetes-validate does. Most objects are the same in most cases, and schemas take time to read."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def settings_of(rendered: Rendered, *, family: str = "IPv4") -> Settings:
    """What an agent started with this pod's variables would run with."""
    given = {"HOST_IP": HOST_IP[family], "NODE_NAME": "node-a", "NODE_ZONE": "zone-a"}
    given |= {"POD_NAME": "registryd-x7k2p", "POD_UID": "5d3f0c1e-8a8b-4f1e-9c2d-0123456789ab"}
    return load(flags={}, environment=variables_of(rendered.agent, given), file=None)


# Any values


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_lint_finds_nothing(values: Object) -> None:
    report = lint(CHART, values, strict=True)
    assert not report["errors"]
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_every_object_is_valid(helm: Helm, values: Object, version: str) -> None:
    rendered = helm.render(values)
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.objects]
    assert len(set(names)) == len(names)
    for each in rendered.objects:
        if each["kind"] not in OF_OPERATORS:
            validate(json.dumps(each), version)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_every_object_is_where_it_belongs_and_says_whose_it_is(helm: Helm, values: Object) -> None:
    for each in helm.render(values).objects:
        assert each["metadata"]["namespace"] == values.get("namespaceOverride", NAMESPACE)
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
@pytest.mark.parametrize("release", ["123", "true", "1e3"])
def test_a_release_may_have_a_name_that_yaml_takes_for_something_else(helm: Helm, values: Object, release: str) -> None:
    for each in helm.render_as(release, values).objects:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == release
        assert all(isinstance(value, str) for value in labels.values())


def test_large_numbers_stay_numbers(helm: Helm) -> None:
    values = {"prefetch": {"images": ["a.lab/b:v1"], "parallel": 1000000}}
    rendered = helm.render({**values, "nodeSetup": {"removalTimeoutSeconds": 1000000}})
    (prefetch,) = rendered.one("DaemonSet", "registryd-prefetch")["spec"]["template"]["spec"]["initContainers"]
    assert "--parallel=1000000" in prefetch["args"]
    (waiting,) = rendered.one("Job", "registryd-removal")["spec"]["template"]["spec"]["containers"]
    assert waiting["args"][-1] == "1000000"


@pytest.mark.parametrize(
    "values", [pytest.param(values, id=name) for name, values in CASES.items() if "agent" not in values]
)
def test_the_agent_accepts_the_settings(helm: Helm, values: Object) -> None:
    settings = settings_of(helm.render(values), family=values.get("ipFamily", "IPv4"))
    check(settings)
    assert settings.discovery.kind is DiscoveryKind.KUBERNETES
    assert settings.registry.listen.is_loopback
    assert settings.agent.node_name == "node-a"
    assert settings.peers.zone == "zone-a"


@pytest.mark.parametrize(("values", "key"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused_by_their_name(helm: Helm, values: Object, key: str) -> None:
    with pytest.raises(HelmError, match=key):
        helm.render(values)


# Settings


def test_settings_of_values_arrive(helm: Helm) -> None:
    some = settings_of(helm.render(CASES["some registries"]))
    assert some.authorization.mode is AuthorizationMode.UPSTREAM
    assert some.authorization.registries == {"docker.io": "public", "ghcr.io": "open"}
    assert settings_of(helm.render(CASES["several namespaces"])).store.namespaces == ("k8s.io", "moby", "default")
    assert settings_of(helm.render({"peers": {"transport": "plain"}})).peers.transport is PeerTransport.PLAIN


def test_further_settings_go_before_the_charts_own(helm: Helm) -> None:
    settings = settings_of(helm.render(CASES["further settings"] | {"authorization": {"mode": "open"}}))
    assert settings.peers.fanout_limit == 1_000_000
    assert settings.agent.shutdown_timeout == 20
    assert settings.authorization.registries == {"docker.io": "upstream"}
    assert settings.authorization.mode is AuthorizationMode.OPEN


@pytest.mark.parametrize("family", HOST_IP)
def test_peers_are_on_the_nodes_address_and_nothing_else_is_but_for_monitoring(helm: Helm, family: str) -> None:
    own = ipaddress.ip_address(HOST_IP[family])
    settings = settings_of(helm.render({"ipFamily": family}), family=family)
    for address in (settings.peers.listen, settings.peers.content_listen):
        assert ipaddress.ip_address(address.host) == own
    assert settings.peers.advertise == str(own)
    assert settings.admin.listen == Address("127.0.0.1", 3175)
    exposed = settings_of(helm.render({"ipFamily": family, "monitoring": {"expose": True}}), family=family)
    assert exposed.admin.listen == Address(str(own), 3175)


@pytest.mark.parametrize("case", ["defaults", "own ports", "IPv6", "exposed without operator"])
def test_ports_probes_and_service_agree_with_the_settings(helm: Helm, case: str) -> None:
    rendered = helm.render(CASES[case])
    settings = settings_of(rendered, family=CASES[case].get("ipFamily", "IPv4"))
    ports = {port["name"]: port["containerPort"] for port in rendered.agent["ports"]}
    assert ports == {
        "registry": settings.registry.listen.port,
        "peers": settings.peers.listen.port,
        "bytes": settings.peers.content_listen.port,
        "admin": settings.admin.listen.port,
    }
    service = {port["name"]: port["port"] for port in rendered.one("Service")["spec"]["ports"]}
    assert service.items() <= ports.items()
    assert settings.discovery.port_name in service
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert rendered.agent[probe]["httpGet"].get("host", "") == (
            "127.0.0.1" if settings.admin.listen.is_loopback else ""
        )


# The pods


def test_agents_are_found_by_the_service_and_removals_are_not(helm: Helm) -> None:
    rendered = helm.render()
    selector = rendered.one("Service")["spec"]["selector"].items()
    removals = [each for each in rendered.objects if each["metadata"]["name"] == "registryd-removal"]
    templates = [
        each["spec"]["template"]["metadata"]["labels"] for each in removals if "template" in each.get("spec", {})
    ]
    assert selector <= rendered.one("DaemonSet")["spec"]["template"]["metadata"]["labels"].items()
    assert len(templates) == 2
    assert not any(selector <= labels.items() for labels in templates)
    removal = rendered.one("DaemonSet", "registryd-removal")["spec"]["selector"]["matchLabels"].items()
    assert [removal <= labels.items() for labels in templates] == [True, False]


def test_the_agent_cannot_write_anything_of_the_node(helm: Helm) -> None:
    rendered = helm.render()
    host_paths = {volume["name"] for volume in rendered.pod["volumes"] if "hostPath" in volume}
    mounted = [mount for mount in rendered.agent["volumeMounts"] if mount["name"] in host_paths]
    assert {mount["mountPath"] for mount in mounted} == {
        "/etc/containerd/certs.d",
        "/run/containerd",
        "/var/lib/containerd/io.containerd.content.v1.content",
        "/var/lib/registryd",
    }
    assert all(mount["readOnly"] for mount in mounted)


@pytest.mark.parametrize("kind", ["DaemonSet", "Job"])
def test_no_container_may_more_than_it_needs(helm: Helm, kind: str) -> None:
    for each in helm.render().all(kind):
        spec = each["spec"]["template"]["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            context = container["securityContext"]
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert not context.get("privileged")
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert "add" not in context["capabilities"] or container["name"] in {"install", "uninstall", "sweep"}


def test_the_role_is_for_one_resource_and_two_verbs(helm: Helm) -> None:
    rules = helm.render().one("Role")["rules"]
    assert rules == [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]


def test_a_socket_that_is_made_anew_is_seen(helm: Helm) -> None:
    """A mount of the socket itself would stay with the one that a restart of containerd removed."""
    for values in (CASES["defaults"], CASES["k3s"]):
        rendered = helm.render(values)
        settings = settings_of(rendered)
        (mount,) = [mount for mount in rendered.agent["volumeMounts"] if mount["name"] == "containerd"]
        assert settings.store.containerd_socket
        assert Path(mount["mountPath"]) == settings.store.containerd_socket.parent


@pytest.mark.parametrize(
    ("values", "folder", "kind"),
    [
        (CASES["defaults"], "/etc/containerd/certs.d", "DirectoryOrCreate"),
        (CASES["k3s"], "/var/lib/rancher/k3s/agent/etc/containerd/certs.d", "DirectoryOrCreate"),
        (CASES["Talos"], None, None),
        (
            {**CASES["Talos"], "containerd": {"hostsDir": "/etc/cri/conf.d/hosts"}},
            "/etc/cri/conf.d/hosts",
            "Directory",
        ),
    ],
)
def test_the_agent_asks_upstreams_as_its_nodes_containerd_does(
    helm: Helm, values: dict[str, Any], folder: str | None, kind: str | None
) -> None:
    rendered = helm.render(values)
    volumes = [each["hostPath"] for each in rendered.pod["volumes"] if each["name"] == "hosts"]
    mounts = [each for each in rendered.agent["volumeMounts"] if each["name"] == "hosts"]
    assert settings_of(rendered).authorization.hosts_dir == (Path(folder) if folder else None)
    assert volumes == ([{"path": folder, "type": kind}] if folder else [])
    assert mounts == ([{"name": "hosts", "mountPath": folder, "readOnly": True}] if folder else [])


def test_what_hosts_toml_files_name_elsewhere_can_be_seen(helm: Helm) -> None:
    company = helm.render(CASES["a company's registries"])
    paths = {volume["hostPath"]["path"] for volume in company.pod["volumes"] if "hostPath" in volume}
    assert {"/etc/containerd/company.crt", "/etc/pki/company", "/etc/pki/tls/certs"} <= paths
    variables = {entry["name"]: entry.get("value") for entry in company.agent["env"]}
    assert variables["SSL_CERT_FILE"] == "/etc/pki/tls/certs/ca-bundle.crt"


def test_without_node_setup_nothing_of_the_node_is_changed(helm: Helm) -> None:
    rendered = helm.render(CASES["Talos"])
    assert "initContainers" not in rendered.pod
    assert len(rendered.all("DaemonSet")) == 1
    assert not rendered.all("Job")
    assert settings_of(rendered).registry.token_file is None


def test_who_waits_for_the_removal_is_not_sent_to_a_dead_node(helm: Helm) -> None:
    own = {"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoExecute"}
    dead = {"key": "node.kubernetes.io/unreachable", "operator": "Exists"}
    rendered = helm.render({"tolerations": [{"operator": "Exists"}, own, dead]})
    everywhere = rendered.one("DaemonSet", "registryd-removal")["spec"]["template"]["spec"]["tolerations"]
    assert {"operator": "Exists"} in everywhere
    job = rendered.one("Job", "registryd-removal")["spec"]["template"]["spec"]["tolerations"]
    assert {"operator": "Exists", "effect": "NoSchedule"} in job
    assert own in job
    assert {"operator": "Exists"} not in job
    of_dead = [each for each in job if each.get("key", "").endswith(("/not-ready", "/unreachable"))]
    assert {each["key"] for each in of_dead} == {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
    assert all(each.items() >= {"operator": "Equal", "effect": "NoExecute"}.items() for each in of_dead)


def test_set_up_and_removal_look_at_the_same_record(helm: Helm) -> None:
    rendered = helm.render(
        {"nodeSetup": {"stateDirectory": "/opt/registryd"}, "mirroredRegistries": ["docker.io", "ghcr.io"]}
    )
    (install,) = rendered.pod["initContainers"]
    uninstall, _ = rendered.one("DaemonSet", "registryd-removal")["spec"]["template"]["spec"]["initContainers"]
    assert install["args"] == [
        "install",
        "--root=/host",
        "--state=/opt/registryd/node",
        f"--owner={NAMESPACE}/registryd",
        "--registries=docker.io,ghcr.io",
    ]
    owned = ["--state=/opt/registryd/node", f"--owner={NAMESPACE}/registryd"]
    assert uninstall["args"] == ["uninstall", "--root=/host", *owned]


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_commands_of_the_set_up_exist_with_these_flags(helm: Helm, command: str, tmp_path: Path) -> None:
    """On an empty node, as a dry run: the command line is what is tested."""
    rendered = helm.render(CASES["some registries"])
    containers = [
        *rendered.pod["initContainers"],
        *rendered.one("DaemonSet", "registryd-removal")["spec"]["template"]["spec"]["initContainers"],
    ]
    (arguments,) = [each["args"] for each in containers if each["name"] == command]
    arguments = [each.replace("--root=/host", f"--root={tmp_path}") for each in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "registryd", *arguments, "--dry-run"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 2, done.stderr


# Identity


def test_a_generated_secret_is_one_that_the_agent_takes(helm: Helm) -> None:
    found = {helm.render_anew().one("Secret")["data"]["secret"] for _ in range(2)}
    assert len(found) == 2
    for text in found:
        (secret,) = parse_lines(base64.b64decode(text).decode(), name="secret", remedy="")
        assert re.fullmatch(r"registryd_secret_[A-Za-z0-9_-]{43}", secret)


def test_the_secret_is_mounted_under_one_name_whatever_its_key_is(helm: Helm) -> None:
    rendered = helm.render(CASES["existing secret"])
    assert not rendered.all("Secret")
    (volume,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "peers"]
    assert volume["secret"]["secretName"] == "mine"
    assert volume["secret"]["items"] == [{"key": "token", "path": "secret"}]
    assert settings_of(rendered).peers.secret_file == Path("/etc/registryd/peers/secret")


def test_cert_manager_issues_what_agents_show_each_other(helm: Helm) -> None:
    rendered = helm.render(CASES["cert-manager"])
    member = rendered.one("Certificate", "registryd-peers")["spec"]
    assert {"client auth", "server auth"} <= set(member["usages"])
    assert member["issuerRef"]["name"] == rendered.one("Issuer")["metadata"]["name"]
    assert (
        rendered.one("Issuer")["spec"]["ca"]["secretName"]
        == rendered.one("Certificate", "registryd-authority")["spec"]["secretName"]
    )
    own = helm.render(CASES["cert-manager, own issuer"])
    assert not own.all("Issuer")
    assert own.one("Certificate", "registryd-peers")["spec"]["issuerRef"]["kind"] == "ClusterIssuer"


# The README


def test_the_table_of_values_is_up_to_date() -> None:
    script = CHART.parent / "values_table.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_schema_knows_every_value_and_no_other() -> None:
    def compare(values: Any, schema: Any, where: str) -> None:
        if isinstance(values, dict) and "properties" in schema:
            if values:
                assert set(values) == set(schema["properties"]) - {"global"}, where
            for name, value in values.items():
                compare(value, schema["properties"][name], f"{where}.{name}")

    compare(
        yaml.safe_load((CHART / "values.yaml").read_text()), json.loads((CHART / "values.schema.json").read_text()), ""
    )


def test_the_default_ports_are_those_of_the_settings(helm: Helm) -> None:
    defaults = {key: option.default for key, option in all_options().items() if key.endswith("listen")}
    settings = settings_of(helm.render())
    for key, default in defaults.items():
        section, _, name = key.partition(".")
        assert getattr(getattr(settings, section), name).port == default.port


def test_limits_are_a_file_that_agents_follow(helm: Helm) -> None:
    rendered = helm.render(CASES["bandwidth"])
    text = rendered.one("ConfigMap", "registryd-bandwidth")["data"]["limits"]
    assert [limit.values for limit in parse_limits(text.splitlines())] == [
        {"upload": 20 << 20, "download": 50 << 20},
        {"background": 10},
    ]
    container = rendered.agent
    assert {"name": "REGISTRYD_BANDWIDTH_FILE", "value": "/etc/registryd/bandwidth/limits"} in container["env"]
    assert {"name": "bandwidth", "mountPath": "/etc/registryd/bandwidth", "readOnly": True} in container["volumeMounts"]


def test_prefetch_tells_the_agent_of_its_node(helm: Helm) -> None:
    for case, address in (("prefetch", "127.0.0.1:3175"), ("bandwidth", "$(HOST_IP):3175")):
        spec = helm.render(CASES[case]).one("DaemonSet", "registryd-prefetch")["spec"]["template"]["spec"]
        assert spec["hostNetwork"] is True
        assert f"--agent={address}" in spec["initContainers"][0]["args"]


def test_agents_may_create_events_only_where_that_is_asked_for(helm: Helm) -> None:
    rules = [
        rule for rule in helm.render(CASES["events of pulls"]).one("Role")["rules"] if "events" in rule["resources"]
    ]
    assert rules == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]
    assert "events" not in str(helm.render({}).one("Role")["rules"])
    env = helm.render(CASES["events of pulls"]).agent["env"]
    named = {each["name"]: each for each in env}
    assert named["REGISTRYD_PULLS_EVENTS_POD"]["value"] == f"{NAMESPACE}/$(POD_NAME)/$(POD_UID)"
    names = list(named)
    assert max(names.index("POD_NAME"), names.index("POD_UID")) < names.index("REGISTRYD_PULLS_EVENTS_POD")
