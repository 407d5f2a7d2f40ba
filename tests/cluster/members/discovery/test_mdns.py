"""Two real announcements over multicast on the loopback interface."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.members.discovery.mdns import MdnsDiscovery, outgoing_host
from registryd.notation import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
PORT = 5353
GROUP = "224.0.0.251"


def node(name: str, port: int, *, service: str) -> MdnsDiscovery:
    return MdnsDiscovery(name, Address(LOOPBACK, port), service=service, interface=LOOPBACK)


async def test_nodes_find_each_other_and_notice_who_leaves() -> None:
    service = f"_rd-{secrets.token_hex(4)}._tcp.local."  # other runs on this machine are other clusters
    async with aclosing(node("one", 4001, service=service).watch()) as first:
        assert await anext(first) == frozenset()
        async with aclosing(node("two", 4002, service=service).watch()) as second:
            assert await anext(second) == frozenset()
            assert await anext(second) == {Address(LOOPBACK, 4001)}
            assert await anext(first) == {Address(LOOPBACK, 4002)}
        assert await anext(first) == frozenset()


def announcement(service: str, name: str) -> bytes:
    """A stranger's PTR record (RFC 1035): an instance has that name. The stranger never says where it is."""
    name_bytes = encoded(name)
    record = encoded(service) + struct.pack(">HHIH", 12, 1, 120, len(name_bytes)) + name_bytes
    return struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0) + record


def encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def announce(service: str, names: Iterable[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            stranger.setsockopt(socket.SOL_SOCKET, option, 1)
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        stranger.bind((LOOPBACK, PORT))
        for name in names:
            stranger.sendto(announcement(service, name), (GROUP, PORT))


@pytest.mark.parametrize(
    "names",
    [
        ["printer._other._tcp.local.", "nothing"],  # no instances of the service
        ["a\x01b.SERVICE", f"{'x' * 63}.{'y' * 63}.SERVICE"],
        [f"nowhere-{number}.SERVICE" for number in range(100)],  # asking each takes a second
    ],
)
async def test_a_stranger_who_announces_nonsense_keeps_no_node_from_being_found(names: list[str]) -> None:
    service = f"_rd-{secrets.token_hex(4)}._tcp.local."
    async with aclosing(node("one", 4001, service=service).watch()) as first:
        assert await anext(first) == frozenset()
        announce(service, (name.replace("SERVICE", service) for name in names))
        async with aclosing(node("two", 4002, service=service).watch()) as second:
            assert await anext(second) == frozenset()
            # A discovery that has failed says "nobody" first, when it begins again.
            async with asyncio.timeout(60):
                assert await anext(first) == {Address(LOOPBACK, 4002)}


def test_this_machine_has_an_address() -> None:
    assert ipaddress.ip_address(outgoing_host()).version == 4
