"""Two real announcements over multicast on the loopback interface."""

from __future__ import annotations

import ipaddress
import secrets
from contextlib import aclosing

from registryd.cluster.members.discovery.mdns import MdnsDiscovery, outgoing_host
from registryd.notation import Address

LOOPBACK = "127.0.0.1"


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


def test_this_machine_has_an_address() -> None:
    assert ipaddress.ip_address(outgoing_host()).version == 4
