import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registryd.notation import Address
from registryd.settings import (
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
        ("store.namespaces", lambda: StoreSettings(namespaces=())),
        ("store.namespaces", lambda: StoreSettings(namespaces=("../k8s.io",))),
        ("peers.fanout_limit", lambda: PeersSettings(fanout_limit=0)),
        ("peers.find_timeout", lambda: PeersSettings(find_timeout=-1)),
        ("peers.backoff_min", lambda: PeersSettings(backoff_min=0)),
        ("peers.backoff_max", lambda: PeersSettings(backoff_min=2, backoff_max=1)),
        ("discovery.interval", lambda: DiscoverySettings(interval=0)),
        ("agent.shutdown_timeout", lambda: AgentSettings(shutdown_timeout=0)),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key: str, make: type) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert caught.value.key == key
    assert caught.value.exit_code == 2


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
    code = "import sys, registryd.settings; print(*{'grpc', 'aiohttp', 'cyclopts', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == []


def test_an_open_registry_may_not_be_there() -> None:
    assert not AuthorizationSettings().may_lack_origin
    assert AuthorizationSettings(AuthorizationMode.OPEN).may_lack_origin
    assert AuthorizationSettings(registries={"lab.example": AuthorizationMode.OPEN}).may_lack_origin
