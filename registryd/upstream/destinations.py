"""To which addresses a request may connect when an upstream names the address: by a realm or a redirect.

An anonymous check follows the word of a possibly hostile upstream, from this machine's place in the network. So this
module checks the address to which a socket is about to connect, after name resolution, whether the address came from
DNS or stood in the URL. A name that resolves differently the second time gains nothing.

Private networks (RFC 1918, RFC 4193, RFC 6598) are allowed, because private registries, their token servers and their
storage are there. A hostile upstream gains little from that: a GET whose answer it never sees, over HTTPS with a
certificate that fits the name. Plain HTTP is refused unless the operator configured that endpoint with it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.connector import AddrInfoType

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORBIDDEN: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        # This machine, and what means it: Linux connects 0.0.0.0 and :: to loopback (RFC 6890).
        "0.0.0.0/8",
        "127.0.0.0/8",
        "::/128",
        "::1/128",
        # This link: most clouds' metadata (169.254.169.254), node-local DNS and other agents of the node.
        "169.254.0.0/16",
        "fe80::/10",
        "fec0::/10",
        # Not a single host: multicast, reserved, broadcast.
        "224.0.0.0/4",
        "240.0.0.0/4",
        "ff00::/8",
        # Metadata services outside of the link, over IPv6 (inside RFC 4193): all that EC2 gives from there, which is
        # metadata, the credentials of EKS' pods (fd00:ec2::23), names and time; Google Cloud, Oracle Cloud, Scaleway.
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:42::42/128",
        # Alibaba Cloud (inside RFC 6598), Oracle Cloud's older one, and Azure's WireServer, a public address.
        "100.100.100.200/32",
        "192.0.0.192/32",
        "168.63.129.16/32",
    )
)

# IPv6 networks whose addresses carry an IPv4 address, and by how many bits it stands above the end: IPv4-compatible and
# -mapped (RFC 4291), NAT64's well-known and local-use prefixes (RFC 6052, RFC 8215), 6to4 (RFC 3056).
_EMBEDDING: Final = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::/96", 0),
        ("::ffff:0:0/96", 0),
        ("::ffff:0:0:0/96", 0),
        ("64:ff9b::/96", 0),
        ("64:ff9b:1::/48", 0),
        ("2002::/16", 80),
    )
)


class AddressForbidden(OSError):
    """A socket was about to connect to an address to which an upstream must not lead."""

    def __init__(self, address: object) -> None:
        super().__init__(errno.EACCES, f"{address} is not a place that an upstream may lead to")


def is_forbidden(address: str) -> bool:
    """Whether this IP address, zone included, is this machine, this link, a metadata service or no host at all."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return any(form in network for form in _forms(parsed) for network in _FORBIDDEN)


def is_forbidden_literal(host: str) -> bool:
    """Whether a URL's host is a forbidden IP address in any notation; False for names, which are not resolved here."""
    try:
        return is_forbidden(host)
    except ValueError:
        pass
    try:
        # 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 to a proxy, as they are to the system's resolver.
        return is_forbidden(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, ValueError):
        return False


def guarded_socket(addr_info: AddrInfoType) -> socket.socket:
    """Make the socket for one address of a connection attempt (aiohttp's `socket_factory`); raises AddressForbidden."""
    family, kind, proto, _, address = addr_info
    if is_forbidden(str(address[0])):
        raise AddressForbidden(address[0])
    return socket.socket(family, kind, proto)


def _forms(address: IpAddress) -> Iterator[IpAddress]:
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                yield ipaddress.IPv4Address((int(address) >> shift) & 0xFFFF_FFFF)
        if address.teredo is not None:
            # RFC 4380: the relay sends to the client's address.
            yield address.teredo[1]
