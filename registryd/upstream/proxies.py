"""HTTP proxies from the environment, read as containerd reads them.

Go's rules (golang.org/x/net/http/httpproxy), because the proxy settings of a node are written for containerd and the
kubelet: NO_PROXY with networks (10.0.0.0/8) is usual there, and Python's own reading knows only name suffixes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from yarl import URL

from registryd.upstream.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_PROXY_TEXT: Final = "a proxy in the environment is not http(s)://host:port"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy and the value of Proxy-Authorization that it wants, if any."""

    url: URL
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `http://user:password@host:port`; the scheme may be left out. Raises ValueError without quoting it."""
        try:
            url = URL(text if "://" in text else f"http://{text}")
            login = Credentials(url.user, url.password or "").authorization() if url.user else None
        except (ValueError, IndexError):  # yarl raises the latter for `[]@`
            raise ValueError(_NO_PROXY_TEXT) from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(_NO_PROXY_TEXT)
        return cls(url.with_user(None), login)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy to use for which address."""

    http: Proxy | None = None
    https: Proxy | None = None
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

    def for_url(self, url: URL) -> Proxy | None:
        """The proxy for this URL, None to connect directly, as always on loopback."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None:
            return None
        host, port = (url.host or "").lower().rstrip("."), url.port or 0
        if _is_this_machine(host) or any(_excepts(exception, host, port) for exception in self.exceptions):
            return None
        return proxy


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower(), "")


def _proxy(text: str) -> Proxy | None:
    return Proxy.parse(text) if text else None


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
