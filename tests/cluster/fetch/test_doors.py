"""Which doors are asked for bytes before their members have been asked what they have: in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from registryd.cluster.contract.node import NodeId
from registryd.cluster.fetch.doors import Doors, OwnPorts
from registryd.cluster.members.member import Member
from registryd.notation import Address

pytestmark = pytest.mark.looptime

OWN = OwnPorts(answers=3173, gives=3174)


def member(port: int = 3173, *, door: int | None = None) -> Member:
    """A member that has said that it gives bytes at that port; None: it has not said anything."""
    made = Member(Address("10.0.0.1", port), cast("Any", None), own_id=NodeId("own"), on_change=lambda _: None)
    made.content_port = door
    return made


@pytest.mark.parametrize(
    ("asked", "port"),
    [
        (member(), 3174),
        (member(4173), None),
        (member(door=4174), 4174),
        (member(4173, door=4174), 4174),
        (member(door=0), None),
    ],
    ids=["as this node", "at another port", "it said so", "at other ports", "it has none"],
)
async def test_a_door_is_known_by_its_member_or_is_where_this_nodes_is(asked: Member, port: int | None) -> None:
    assert Doors(OWN).unasked(asked) == (Address("10.0.0.1", port) if port else None)
    assert Doors().unasked(asked) is None


async def test_a_node_without_a_door_does_not_guess_where_others_have_theirs() -> None:
    assert Doors(OwnPorts(answers=3173, gives=0)).unasked(member()) is None


async def test_a_member_whose_door_gave_nothing_is_asked_first_for_a_while() -> None:
    doors, other = Doors(OWN), member(door=4174)
    doors.ask_first(member(door=3174))
    assert doors.unasked(other) is None
    await asyncio.sleep(29)
    assert doors.unasked(other) is None
    await asyncio.sleep(2)
    assert doors.unasked(other) == Address("10.0.0.1", 4174)


async def test_a_door_that_could_not_be_reached_is_not_asked_at_once() -> None:
    doors, door = Doors(OWN), Address("10.0.0.1", 3174)
    doors.close(door)
    assert doors.is_closed(door)
    assert doors.unasked(member()) is None
    assert doors.unasked(member(door=4174)) == Address("10.0.0.1", 4174)
    await asyncio.sleep(31)
    assert doors.unasked(member()) == door
