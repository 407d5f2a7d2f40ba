"""Connections at gRPC's door that have not called make room; those that have stay."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from registryd.cluster.callers import Callers

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


class Door:
    """Connections as this process has accepted them; the other ends are here as well."""

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.pairs: list[Pair] = []

    def connect(self, count: int) -> list[Pair]:
        for _ in range(count):
            client = socket.create_connection(self._listener.getsockname())
            self.pairs.append((client, self._listener.accept()[0]))
        return self.pairs[-count:]

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()
        self._listener.close()


@contextmanager
def opened() -> Iterator[Door]:
    door = Door()
    try:
        yield door
    finally:
        door.close()


@pytest.fixture
def door() -> Iterator[Door]:
    with opened() as door:
        yield door


def is_ended(pair: Pair) -> bool:
    client, _ = pair
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def named_by_grpc(pair: Pair) -> str:
    return f"ipv4:127.0.0.1:{pair[0].getsockname()[1]}"


def test_of_one_address_the_last_sixteen_that_have_not_called_stay(door: Door) -> None:
    callers = Callers(1000)
    door.connect(40)
    callers.look(door.port)
    assert [is_ended(pair) for pair in door.pairs] == [True] * 24 + [False] * 16


def test_those_that_have_called_stay(door: Door) -> None:
    callers = Callers(1000)
    called = door.connect(30)
    for pair in called:
        callers.has_called(named_by_grpc(pair))
    silent = door.connect(20)
    callers.look(door.port)
    callers.look(door.port)
    assert not any(is_ended(pair) for pair in called)
    assert sum(is_ended(pair) for pair in silent) == 4


def test_a_quarter_of_the_places_is_kept_free(door: Door) -> None:
    callers = Callers(20)
    called = door.connect(10)
    for pair in called:
        callers.has_called(named_by_grpc(pair))
    silent = door.connect(10)
    callers.look(door.port)
    assert not any(is_ended(pair) for pair in called)
    assert sum(is_ended(pair) for pair in silent) == 5


def test_a_port_that_is_used_again_has_not_called(door: Door) -> None:
    callers = Callers(1000)
    (pair,) = door.connect(1)
    callers.has_called(named_by_grpc(pair))
    callers.look(door.port)
    assert len(callers._called) == 1
    for end in pair:
        end.close()
    callers.look(door.port)
    assert not callers._called


def test_other_sockets_of_this_process_are_let_alone(door: Door) -> None:
    callers = Callers(1000)
    with opened() as other:
        others = other.connect(30)
        callers.look(door.port)
        assert not any(is_ended(pair) for pair in others)
