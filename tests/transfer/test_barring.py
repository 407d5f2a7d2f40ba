"""The kernel drops attempts to connect from addresses that are named, and nothing else."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from registryd.transfer.barring import MOST_BARRED, bar

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first packet is dropped, and comes again after a second.
_SECONDS = 0.3


def connects(listening: socket.socket, host: str, *, source: str = "") -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(_SECONDS)
        if source:
            client.bind((source, 0))
        try:
            client.connect((host, listening.getsockname()[1]))
        except TimeoutError:
            return False
        return True


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def listening(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    host: str = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
    except OSError:
        pytest.skip("no IPv6 here")
    with sock:
        yield sock


def test_who_is_named_cannot_connect_until_it_is_not(listening: socket.socket) -> None:
    bound = listening.getsockname()[0]
    for host in ("127.0.0.1", "::1") if bound == "::" else (bound,):
        assert connects(listening, host)
        bar(listening, ["10.0.0.1", "fe80::1", host, "::2"])
        assert not connects(listening, host)
        bar(listening, [])
        assert connects(listening, host)


def test_others_connect_meanwhile_and_connections_stay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as client, listening.accept()[0] as accepted:
            bar(listening, ["127.0.0.1"])
            client.sendall(b"still here")
            assert accepted.recv(100) == b"still here"
        assert connects(listening, "127.0.0.1", source="127.0.0.5")


@pytest.mark.parametrize("form", ["10.0.0.%d", "fd00::%x"])
def test_a_full_filter_can_be_replaced_by_a_full_one(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(3):
            bar(listening, [form % number for number in range(2 * MOST_BARRED)])
        assert connects(listening, "127.0.0.1")
