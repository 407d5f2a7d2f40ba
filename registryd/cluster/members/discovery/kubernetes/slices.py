"""EndpointSlices as values: the endpoints of a service, with address, node and zone."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IpVersion = Literal[4, 6]
# Kubernetes' own bound on names (RFC 1123 subdomain) and twice its bound on label values, which zones are.
_LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class PodLocation:
    """Where a peer is, as far as Kubernetes knows; empty where it does not."""

    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One address of one pod. `pod` is the same for the addresses of a pod in both families."""

    address: Address
    ip_version: IpVersion
    pod: str
    place: PodLocation


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """One of the objects that together list a service's endpoints."""

    name: str
    endpoints: frozenset[SliceEndpoint]


def read_slice(document: Mapping[str, Any], *, port_name: str) -> EndpointSlice:
    """Read a `discovery.k8s.io/v1` EndpointSlice; raises ValueError, TypeError or LookupError when it is none.

    Left out is what is no peer: pods that are terminating, whose agents take no more questions;
    names instead of addresses (addressType FQDN); slices without the port; single endpoints that make no sense. Pods
    that are not ready count: whether a peer answers is found out by asking it, sooner than by the kubelet's probes and
    also when the API server is away.
    """
    name = _text(document["metadata"]["name"])
    port = _port(document.get("ports") or (), port_name)
    entries = document.get("endpoints") or ()
    if port is None or document["addressType"] not in {"IPv4", "IPv6"}:
        return EndpointSlice(name, frozenset())
    found = (_endpoint_or_none(entry, port) for entry in entries)
    return EndpointSlice(name, frozenset(endpoint for endpoint in found if endpoint))


def choose_peers(slices: Iterable[EndpointSlice], *, prefer: IpVersion) -> dict[Address, PodLocation]:
    """One address for each pod: with two families, that of the preferred one.

    While endpoints move from slice to slice, a pod may be in both (KEP-752): it counts once.
    """
    chosen: dict[str, SliceEndpoint] = {}
    everything = (endpoint for each in slices for endpoint in each.endpoints)
    for endpoint in sorted(everything, key=lambda e: (e.ip_version != prefer, str(e.address), e.place.zone)):
        chosen.setdefault(endpoint.pod, endpoint)
    return {endpoint.address: endpoint.place for endpoint in chosen.values()}


def _port(ports: Iterable[Mapping[str, Any]], name: str) -> int | None:
    numbers = (port["port"] for port in ports if port.get("name") == name)
    number = next(numbers, None)
    if number is not None and (type(number) is not int or not 0 < number <= 65535):  # noqa: PLR2004 - TCP's bound
        raise ValueError("a port that is none")
    return number


def _endpoint_or_none(entry: Mapping[str, Any], port: int) -> SliceEndpoint | None:
    with suppress(ValueError, TypeError, LookupError, AttributeError):
        return _endpoint(entry, port)
    return None


def _endpoint(entry: Mapping[str, Any], port: int) -> SliceEndpoint | None:
    if (entry.get("conditions") or {}).get("terminating"):
        return None
    place = PodLocation(_text(entry.get("nodeName") or ""), _text(entry.get("zone") or ""))
    uid = _text((entry.get("targetRef") or {}).get("uid") or "")
    # The addresses of one endpoint are alternatives, and since v1 there is only one of them.
    ip = ipaddress.ip_address(_text(entry["addresses"][0]))
    address = Address(str(ip), port)
    return SliceEndpoint(address, ip.version, uid or place.node or str(address), place)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        raise TypeError("a name that is none")
    return value
