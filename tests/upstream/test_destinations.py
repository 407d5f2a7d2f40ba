"""Where an upstream may lead us, and where not, in every notation."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.upstream.destinations import (
    AddressForbidden,
    guarded_socket,
    is_forbidden,
    is_forbidden_literal,
)

FORBIDDEN = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.20.10",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:ec2::253",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::",
]
ALLOWED = [
    "8.8.8.8",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "2001:4860:4860::8888",
    "fd00:1234::5",
    "::ffff:10.0.0.1",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_this_machine_this_link_and_metadata_are_forbidden(address: str) -> None:
    assert is_forbidden(address)
    with pytest.raises(AddressForbidden, match="not a place"):
        guarded_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", ALLOWED)
def test_public_and_private_networks_are_allowed(address: str) -> None:
    assert not is_forbidden(address)
    guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443))).close()


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "169.254.43518", "::1"])
def test_literals_in_other_notations(host: str) -> None:
    assert is_forbidden_literal(host)


@pytest.mark.parametrize("host", ["localhost", "example.com", "10.1", "", "1.2.3.4.5"])
def test_names_are_not_literals(host: str) -> None:
    assert not is_forbidden_literal(host)


@given(st.integers(0, 2**32 - 1))
def test_an_embedded_address_is_what_it_embeds(number: int) -> None:
    plain = is_forbidden(str(ipaddress.IPv4Address(number)))
    for prefix, shift in (("::ffff:0:0", 0), ("64:ff9b::", 0), ("2002::", 80)):
        embedded = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)
        assert is_forbidden(str(embedded)) == plain
