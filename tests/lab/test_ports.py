"""Ports for programs that are told where to listen."""

from __future__ import annotations

import socket
from pathlib import Path

from lab.ports import LOOPBACK, free_ports


def test_they_are_free_and_none_that_somebody_else_is_given() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in ports if first <= port <= last]
    for port in ports:
        socket.create_server((LOOPBACK, port)).close()
