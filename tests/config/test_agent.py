import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registryd.config.agent import (
    LEAST_ASSEMBLY_BYTES,
    AdminSettings,
    AgentSettings,
    AuthorizationMode,
    AuthorizationSettings,
    DiscoveryKind,
    DiscoverySettings,
    PeersSettings,
    RegistrySettings,
    Settings,
    SettingsError,
    StoreSettings,
    check,
)
from registryd.notation import Address
from registryd.transfer.slots import SlotMemory

LOOPBACK = Address("127.0.0.1", 0)
CERT = Path("pem")
INSECURE = PeersSettings(insecure=True)


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.peers = INSECURE  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.authorization.registries["ghcr.io"] = AuthorizationMode.OPEN  # type: ignore[index]


def test_settings_do_not_follow_the_mapping_they_were_made_of() -> None:
    given = {"ghcr.io": AuthorizationMode.UPSTREAM}
    made = AuthorizationSettings(registries=given)
    given.clear()
    assert made.registries == {"ghcr.io": "upstream"}


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("registry.first_byte_timeout", lambda: RegistrySettings(first_byte_timeout=0)),
        ("registry.first_byte_timeout", lambda: RegistrySettings(first_byte_timeout=float("nan"))),
        ("registry.default", lambda: RegistrySettings(default="https://docker.io")),
        ("store.namespaces", lambda: StoreSettings(namespaces=())),
        ("store.namespaces", lambda: StoreSettings(namespaces=("../k8s.io",))),
        ("peers.fanout_limit", lambda: PeersSettings(fanout_limit=0)),
        ("peers.stripes_from", lambda: PeersSettings(stripes_from=-1)),
        ("peers.stripes_from", lambda: PeersSettings(stripes_from=15)),
        ("peers.stripes_from", lambda: PeersSettings(stripes_from=10**20)),
        ("peers.assembly_buffer", lambda: PeersSettings(assembly_buffer=LEAST_ASSEMBLY_BYTES - 1)),
        ("peers.find_timeout", lambda: PeersSettings(find_timeout=-1)),
        ("peers.backoff_min", lambda: PeersSettings(backoff_min=0)),
        ("peers.backoff_max", lambda: PeersSettings(backoff_min=2, backoff_max=1)),
        ("peers.max_upload_rate", lambda: PeersSettings(max_upload_rate=1)),
        ("peers.advertise", lambda: PeersSettings(advertise="10.0.0.1:3173")),
        ("peers.advertise", lambda: PeersSettings(advertise="two words")),
        ("discovery.interval", lambda: DiscoverySettings(interval=0)),
        ("discovery.interface", lambda: DiscoverySettings(interface="eth0")),
        ("discovery.service", lambda: DiscoverySettings(service="registryd")),
        ("discovery.service", lambda: DiscoverySettings(service="_registryd._tcp.local")),
        ("discovery.service", lambda: DiscoverySettings(service="_sixteen-letters1._tcp.local.")),
        ("discovery.service", lambda: DiscoverySettings(service="_1._tcp.local.")),
        ("agent.shutdown_timeout", lambda: AgentSettings(shutdown_timeout=0)),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key: str, make: type) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert caught.value.key == key
    assert caught.value.exit_code == 2


def test_the_names_that_peers_and_networks_have_are_accepted() -> None:
    for advertise in ("", "10.0.0.1", "fd00::1", "node-1.example"):
        assert PeersSettings(advertise=advertise).advertise == advertise
    for interface in ("", "192.168.0.1", "fe80::1"):
        assert DiscoverySettings(interface=interface).interface == interface
    for service in ("_a._tcp.local.", "_fifteen-letters._udp.local."):
        assert DiscoverySettings(service=service).service == service


def test_a_registry_that_the_network_can_reach_needs_a_token_or_a_decision(tmp_path: Path) -> None:
    reachable = RegistrySettings(listen=Address("0.0.0.0", 3172))
    members = PeersSettings(secret_file=tmp_path / "secret")
    with pytest.raises(SettingsError) as caught:
        check(Settings(registry=reachable, peers=members))
    assert str(caught.value) == (
        "registry.listen: 0.0.0.0:3172 is open to the network, where anyone could pull what the cluster has; "
        "listen on 127.0.0.1, or set registry.token_file; peers.insecure = true lets anyone in"
    )
    check(Settings(registry=dataclasses.replace(reachable, token_file=tmp_path / "token"), peers=members))
    check(Settings(registry=reachable, peers=INSECURE))


def test_peers_that_the_network_can_reach_need_a_decision() -> None:
    with pytest.raises(SettingsError) as caught:
        check(Settings())
    assert str(caught.value) == (
        "peers.listen: 0.0.0.0:3173 is open to the network, where anyone could fetch this node's images; "
        "set peers.secret_file (`registryd secret new` prints one) or peers.tls_cert, tls_key and tls_ca, "
        "or listen on 127.0.0.1; peers.insecure = true lets anyone in"
    )


def test_both_doors_of_the_peers_are_looked_at() -> None:
    with pytest.raises(SettingsError, match=r"^peers.content_listen: "):
        check(Settings(peers=PeersSettings(listen=LOOPBACK)))


@pytest.mark.parametrize("peers", [INSECURE, PeersSettings(listen=LOOPBACK, content_listen=LOOPBACK)])
def test_insecure_or_loopback_is_such_a_decision(peers: PeersSettings) -> None:
    check(Settings(peers=peers))


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("discovery.file", Settings(peers=INSECURE, discovery=DiscoverySettings(kind=DiscoveryKind.FILE))),
        ("discovery.dns_name", Settings(peers=INSECURE, discovery=DiscoverySettings(kind=DiscoveryKind.DNS))),
    ],
)
def test_settings_that_could_not_be_kept_are_refused(key: str, settings: Settings) -> None:
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "peers", [PeersSettings(secret_file=CERT), PeersSettings(tls_cert=CERT, tls_key=CERT, tls_ca=CERT)]
)
def test_members_that_prove_who_they_are_may_meet_on_the_network(peers: PeersSettings) -> None:
    check(Settings(peers=peers))


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("peers.tls_cert", {"tls_cert": CERT, "tls_key": CERT}),
        ("peers.tls_cert", {"tls_ca": CERT}),
        ("peers.secret_file", {"secret_file": CERT, "tls_cert": CERT, "tls_key": CERT, "tls_ca": CERT}),
        ("peers.insecure", {"secret_file": CERT, "insecure": True}),
    ],
)
def test_credentials_that_contradict_each_other_are_refused(key: str, given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        check(Settings(peers=PeersSettings(**given)))
    assert caught.value.key == key


def test_settings_need_no_transport_and_no_command_line() -> None:
    code = "import sys, registryd.config.agent; print(*{'grpc', 'aiohttp', 'cyclopts', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == []


def test_an_open_registry_may_not_be_there() -> None:
    assert not AuthorizationSettings().may_lack_origin
    assert AuthorizationSettings(AuthorizationMode.OPEN).may_lack_origin
    assert AuthorizationSettings(registries={"lab.example": AuthorizationMode.OPEN}).may_lack_origin


def test_the_admin_port_is_for_this_machine_unless_somebody_decides_otherwise() -> None:
    assert AdminSettings().listen.is_loopback


def test_the_least_assembly_buffer_is_what_one_body_needs() -> None:
    assert SlotMemory(PeersSettings(assembly_buffer=LEAST_ASSEMBLY_BYTES).assembly_buffer).is_enough
    assert not SlotMemory(LEAST_ASSEMBLY_BYTES - 1).is_enough
