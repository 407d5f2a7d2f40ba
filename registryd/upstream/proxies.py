"""HTTP proxies from the environment, read as containerd reads them.

Go's rules (golang.org/x/net/http/httpproxy), because the proxy settings of a node are written for containerd and the
kubelet: NO_PROXY with networks (10.0.0.0/8) is usual there, and Python's own reading knows only name suffixes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy to use for which address. Proxies may carry user and password, so they are not shown."""

    http: URL | None = field(default=None, repr=False)
    https: URL | None = field(default=None, repr=False)
    exceptions: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals first; raises ValueError for what is no proxy."""
        return cls(
            http=_proxy(_variable(environment, "HTTP_PROXY")),
            https=_proxy(_variable(environment, "HTTPS_PROXY")),
            exceptions=tuple(
                part for part in _variable(environment, "NO_PROXY").lower().replace(" ", "").split(",") if part
            ),
        )

    def for_url(self, url: URL) -> URL | None:
        """The proxy for this URL, None to connect directly, as always on loopback."""
        host, port = (url.host or "").lower().rstrip("."), url.port or 0
        if _is_this_machine(host) or any(_excepts(exception, host, port) for exception in self.exceptions):
            return None
        return self.https if url.scheme == "https" else self.http


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _proxy(text: str) -> URL | None:
    if not text:
        return None
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        # The text may hold a password: it is not repeated.
        raise ValueError("a proxy in the environment is not http(s)://host:port")
    return url


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _excepts(exception: str, host: str, port: int) -> bool:
    """`*`, a network, an address, a domain with its subdomains, `.domain` for these only; the last three with port."""
    if exception == "*":
        return True
    address, network = _address(host), _network(exception)
    if network is not None:
        return address is not None and address in network
    name, wanted_port = _split_port(exception)
    if wanted_port not in {0, port}:
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split_port(text: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in name or name.startswith("[")):
        return name.strip("[]"), int(port)
    return text.strip("[]"), 0


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None
