from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from registryd.cluster.contract.node import NodeId
from registryd.cluster.members.discovery.choice import choose_discovery
from registryd.cluster.members.discovery.dns import DnsDiscovery
from registryd.cluster.members.discovery.file import FileDiscovery
from registryd.cluster.members.discovery.mdns import MdnsDiscovery
from registryd.cluster.members.discovery.static import StaticDiscovery
from registryd.config.agent import DiscoveryKind, DiscoverySettings, SettingsError
from registryd.notation import Address

LISTEN = Address("0.0.0.0", 3173)


def choose(settings: DiscoverySettings, *, listen: Address = LISTEN, advertise: str = "") -> object:
    return choose_discovery(settings, node=NodeId("node"), listen=listen, advertise=advertise)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (DiscoverySettings(), StaticDiscovery),
        (DiscoverySettings(kind=DiscoveryKind.FILE, file=Path("/etc/registryd/peers")), FileDiscovery),
        (DiscoverySettings(kind=DiscoveryKind.DNS, dns_name=Address("peers", 1)), DnsDiscovery),
        (DiscoverySettings(kind=DiscoveryKind.MDNS), MdnsDiscovery),
    ],
)
def test_each_kind_has_its_discovery(settings: DiscoverySettings, kind: type) -> None:
    assert isinstance(choose(settings), kind)


@pytest.mark.parametrize("kind", [DiscoveryKind.FILE, DiscoveryKind.DNS, DiscoveryKind.KUBERNETES])
def test_what_is_missing_is_named(kind: DiscoveryKind) -> None:
    with pytest.raises(SettingsError, match=r"discovery\."):
        choose(DiscoverySettings(kind=kind))


def test_mdns_announces_addresses_only() -> None:
    with pytest.raises(SettingsError, match=r"peers\.advertise"):
        choose(DiscoverySettings(kind=DiscoveryKind.MDNS), advertise="node1.example")


def test_what_is_not_used_is_not_imported() -> None:
    program = "import registryd.cluster.members.discovery.choice, sys; sys.exit('zeroconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
