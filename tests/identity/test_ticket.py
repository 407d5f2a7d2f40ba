from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registryd.identity.requester import Requester
from registryd.identity.ticket import Tickets
from registryd.oci.digest import Digest

_PURPOSE, _OTHER = (f"{Digest.of(data)} for registry.example/app" for data in (b"one", b"two"))
_PEER, _OTHER_PEER = Requester("10.0.0.1"), Requester("10.0.0.2")


class Stopwatch:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def tickets(clock: Stopwatch) -> Tickets:
    return Tickets(clock)


def test_a_ticket_is_compact_and_safe_in_a_header(tickets: Tickets) -> None:
    ticket = tickets.issue(_PURPOSE, _PEER)
    assert len(ticket) == 32
    assert set(ticket) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_requester_may_come_again_for_the_same_digest(tickets: Tickets, clock: Stopwatch) -> None:
    ticket = tickets.issue(_PURPOSE, _PEER)
    for _ in range(3):
        assert tickets.admits(ticket, _PURPOSE, _PEER)
        clock.now += 19


def test_borrowed(tickets: Tickets) -> None:
    assert not tickets.admits(tickets.issue(_PURPOSE, _PEER), _PURPOSE, _OTHER_PEER)


def test_for_something_else(tickets: Tickets) -> None:
    assert not tickets.admits(tickets.issue(_PURPOSE, _PEER), _OTHER, _PEER)


def test_replayed_at_another_node_or_after_a_restart(tickets: Tickets, clock: Stopwatch) -> None:
    assert not Tickets(clock).admits(tickets.issue(_PURPOSE, _PEER), _PURPOSE, _PEER)


def test_expired_and_prolonged(tickets: Tickets, clock: Stopwatch) -> None:
    ticket = tickets.issue(_PURPOSE, _PEER)
    clock.now += 60
    assert not tickets.admits(ticket, _PURPOSE, _PEER)
    longer = (int.from_bytes(urlsafe_b64decode(ticket)[:4]) + 60).to_bytes(4) + urlsafe_b64decode(ticket)[4:]
    assert not tickets.admits(urlsafe_b64encode(longer).decode(), _PURPOSE, _PEER)


@given(
    st.none() | st.text(max_size=40) | st.binary(min_size=24, max_size=24).map(lambda d: urlsafe_b64encode(d).decode())
)
def test_made_up(text: str | None) -> None:
    assert not Tickets(lambda: 0).admits(text, _PURPOSE, _PEER)


@given(position=st.integers(0, 31), letter=st.characters(max_codepoint=0x2FF))
def test_changed_in_any_letter(position: int, letter: str) -> None:
    tickets = Tickets()
    ticket = tickets.issue(_PURPOSE, _PEER)
    changed = ticket[:position] + letter + ticket[position + 1 :]
    assert tickets.admits(changed, _PURPOSE, _PEER) == (changed == ticket)


@pytest.mark.parametrize(
    "ticket", ["", "A" * 31, "A" * 33, "A" * 32 + "=", "A" * 10_000_000, "é" * 32, "\n" * 32, "+" * 32]
)
def test_malformed(tickets: Tickets, ticket: str) -> None:
    assert not tickets.admits(ticket, _PURPOSE, _PEER)


@pytest.mark.parametrize(
    ("grpc", "socket"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv4:10.0.0.1:4711", "::ffff:10.0.0.1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:4711", "10.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:0db8:0:0::1"),
        ("ipv6:[::1]:4711", "::1"),
    ],
)
def test_a_requester_is_the_same_however_it_is_spelt(grpc: str, socket: str) -> None:
    assert Requester.of_grpc(grpc) == Requester(socket)


@pytest.mark.parametrize("peer", ["", "unix:/run/x.sock", "ipv4:", "ipv4:host:1"])
def test_what_has_no_address_is_no_requester(peer: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Requester.of_grpc(peer)
