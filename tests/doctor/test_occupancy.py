"""Who is at a port: real listeners of all kinds."""

from __future__ import annotations

import os
import socket

import pytest

from registryd.doctor.holder import holder_of
from registryd.doctor.occupancy import Occupant, occupancy_of
from registryd.notation import Address
from tests.fakes.listener import answering


@pytest.mark.parametrize(
    ("reply", "occupant"),
    [
        (b"HTTP/1.1 200 OK\r\nServer: registryd\r\nContent-Length: 0\r\n\r\n", Occupant.REGISTRYD),
        (b"HTTP/1.1 404 Not Found\r\nServer: registryd\r\nContent-Length: 0\r\n\r\n", Occupant.REGISTRYD),
        (b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n", Occupant.OTHER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Occupant.OTHER),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Occupant.OTHER),
        (b"", Occupant.OTHER),
    ],
)
def test_who_answers(reply: bytes, occupant: Occupant) -> None:
    with answering(reply) as address:
        found = occupancy_of(address)
    assert found.occupant is occupant
    assert ("process" in found.who) is (occupant is Occupant.OTHER)


def test_nobody() -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        assert occupancy_of(Address("127.0.0.1", bound.getsockname()[1])).occupant is Occupant.NOBODY


def test_who_accepts_and_says_nothing_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registryd.doctor.occupancy._TIMEOUT", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = occupancy_of(Address("127.0.0.1", listener.getsockname()[1]))
    assert (found.occupant, found.how) == (Occupant.OTHER, "no answer within 0.1 s")


def test_who_listens_and_takes_no_connection_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full, and the kernel drops what comes."""
    monkeypatch.setattr("registryd.doctor.occupancy._TIMEOUT", 0.1)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        found = occupancy_of(Address("127.0.0.1", listener.getsockname()[1]))
    assert (found.occupant, found.how) == (Occupant.OTHER, "no connection within 0.1 s")
    assert "process" in found.who


def test_who_has_the_same_port_of_another_address_is_not_named() -> None:
    """Each is named for its own address; one that listens everywhere for all of them."""
    with socket.create_server(("127.0.0.2", 0)) as one:
        port = one.getsockname()[1]
        for host, is_named in (("127.0.0.2", True), ("127.0.0.1", False), ("::1", False), ("somewhere.lab", True)):
            assert (f"(process {os.getpid()})" in holder_of(Address(host, port))) is is_named, host
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as everywhere:
        for host in ("127.0.0.1", "::1"):
            assert holder_of(Address(host, everywhere.getsockname()[1]))
