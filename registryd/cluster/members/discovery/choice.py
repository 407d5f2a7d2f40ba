"""The way of discovery that the settings ask for."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, assert_never

from registryd.cluster.members.discovery.static import StaticDiscovery
from registryd.config.agent import DiscoveryKind, SettingsError
from registryd.notation import Address

if TYPE_CHECKING:
    from registryd.cluster.contract.node import NodeId
    from registryd.cluster.members.discovery.contract import Discovery
    from registryd.config.agent import DiscoverySettings


def choose_discovery(settings: DiscoverySettings, *, node: NodeId, listen: Address, advertise: str) -> Discovery:
    """Build it; what it needs is imported only now. Raises SettingsError for what is missing.

    `listen` is the address at which this node's gRPC is bound, with the port that it really has; `advertise` the host
    under which others reach it, or empty. Both only matter where a node announces itself.
    """
    match settings.kind:
        case DiscoveryKind.STATIC:
            return StaticDiscovery(settings.peers)
        case DiscoveryKind.FILE:
            return _file(settings)
        case DiscoveryKind.DNS:
            return _dns(settings)
        case DiscoveryKind.MDNS:
            return _mdns(settings, node, listen, advertise)
        case DiscoveryKind.KUBERNETES:
            return _kubernetes(settings, advertise or listen.host)
    assert_never(settings.kind)


def _file(settings: DiscoverySettings) -> Discovery:
    from registryd.cluster.members.discovery.file import FileDiscovery  # noqa: PLC0415

    if settings.file is None:
        raise SettingsError("discovery.file", "must name a file, because discovery.kind is file")
    return FileDiscovery(settings.file)


def _dns(settings: DiscoverySettings) -> Discovery:
    from registryd.cluster.members.discovery.dns import DnsDiscovery  # noqa: PLC0415

    if settings.dns_name is None:
        raise SettingsError("discovery.dns_name", "must be name:port, because discovery.kind is dns")
    return DnsDiscovery(settings.dns_name, interval=settings.interval)


def _kubernetes(settings: DiscoverySettings, advertise: str) -> Discovery:
    from registryd.cluster.members.discovery.kubernetes.discovery import discovery_in_cluster  # noqa: PLC0415
    from registryd.cluster.members.discovery.kubernetes.errors import NotInCluster  # noqa: PLC0415

    try:
        return discovery_in_cluster(
            namespace=settings.namespace,
            service_name=settings.service_name,
            port_name=settings.port_name,
            advertise=advertise,
        )
    except NotInCluster as error:
        raise SettingsError("discovery.kind", f"is kubernetes, but {error}") from error


def _mdns(settings: DiscoverySettings, node: NodeId, listen: Address, advertise: str) -> Discovery:
    from registryd.cluster.members.discovery.mdns import MdnsDiscovery, outgoing_host  # noqa: PLC0415

    host = advertise or settings.interface or (outgoing_host() if _is_wildcard(listen) else listen.host)
    if _ip(host) is None:
        raise SettingsError("peers.advertise", f"must be an IP address, because mdns announces one; {host!r} is none")
    # A node that only listens on loopback has nothing to say to the network.
    interface = settings.interface or (listen.host if listen.is_loopback else "")
    return MdnsDiscovery(str(node), Address(host, listen.port), service=settings.service, interface=interface)


def _is_wildcard(address: Address) -> bool:
    ip = _ip(address.host)
    return ip is not None and ip.is_unspecified


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
