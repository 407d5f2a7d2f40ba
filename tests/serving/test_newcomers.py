"""Which of those that have asked for nothing make room."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from registryd.serving.newcomers import NewConnections


@dataclass(eq=False)
class Connection:
    address: str = "10.0.0.1"
    has_said_something: bool = False
    ended: bool = field(default=False)

    def is_silent(self) -> bool:
        return not self.has_said_something

    def give_up(self) -> None:
        self.ended = True


@pytest.fixture
def newcomers() -> NewConnections:
    return NewConnections(most=6, most_of_address=3)


def arrived(newcomers: NewConnections, *connections: Connection) -> list[bool]:
    for connection in connections:
        newcomers.arrive(connection)
    return [connection.ended for connection in connections]


def test_of_one_address_the_first_that_is_silent_goes(newcomers: NewConnections) -> None:
    others = [Connection("10.0.0.2") for _ in range(2)]
    assert arrived(newcomers, *others) == [False, False]
    assert arrived(newcomers, *(Connection() for _ in range(5))) == [True, True, False, False, False]
    assert not any(other.ended for other in others)


def test_of_all_the_first_that_is_silent_goes(newcomers: NewConnections) -> None:
    assert arrived(newcomers, *(Connection(f"10.0.0.{number}") for number in range(8))) == [True] * 2 + [False] * 6


def test_one_that_has_said_something_is_read_first(newcomers: NewConnections) -> None:
    assert arrived(newcomers, *(Connection(has_said_something=True) for _ in range(9))) == [False] * 9
    assert arrived(newcomers, Connection()) == [True]


def test_one_that_has_asked_is_no_newcomer(newcomers: NewConnections) -> None:
    asked = Connection()
    newcomers.arrive(asked)
    newcomers.leave(asked)
    newcomers.leave(asked)
    assert len(newcomers) == 0
    assert not newcomers.make_room()
    arrived(newcomers, *(Connection() for _ in range(9)))
    assert not asked.ended


def test_room_is_made_by_the_one_that_has_waited_longest(newcomers: NewConnections) -> None:
    first, second = Connection("10.0.0.1"), Connection("10.0.0.2")
    arrived(newcomers, first, second)
    assert newcomers.make_room()
    assert (first.ended, second.ended) == (True, False)
