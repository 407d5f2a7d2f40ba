"""A trouble that most members show is this node's; what a few show is theirs."""

from __future__ import annotations

from typing import Any

import pytest

from registryd.agent.own_trouble import own_trouble
from registryd.observability.metrics import PeerTrouble


def members(up: int = 0, unknown: int = 0, **aside: int) -> list[dict[str, Any]]:
    """As in `/status`; `aside`: how many are set aside for a trouble, by its name in `PeerTrouble`."""
    reasons = [PeerTrouble[name] for name, count in aside.items() for _ in range(count)]
    return [
        {"state": "self", "reason": "", "since": 0.0},
        *({"state": "up", "reason": "", "since": 0.0} for _ in range(up)),
        *({"state": "unknown", "reason": "", "since": 0.0} for _ in range(unknown)),
        *({"state": "set aside", "reason": reason, "since": 50.0 - n} for n, reason in enumerate(reasons)),
    ]


@pytest.mark.parametrize("name", ["OTHER_SECRET", "CLOCK", "NO_TLS", "HUNG_UP", "GARBLED"])
def test_a_node_that_is_outnumbered_is_wrong(name: str) -> None:
    expected = {"reason": PeerTrouble[name], "members": 3, "of": 5, "since": 48.0}
    assert own_trouble(members(up=1, unknown=9, **{name: 3}, REFUSED=1)) == expected


@pytest.mark.parametrize(("up", "others"), [(0, 0), (0, 1), (1, 2), (5, 6), (11, 1)])
def test_a_tie_is_nobodys_and_the_larger_part_is_right(up: int, others: int) -> None:
    assert own_trouble(members(up=up, OTHER_SECRET=others)) is None


@pytest.mark.parametrize("name", ["REFUSED", "NO_ANSWER", "NO_ROUTE", "NO_ADDRESS"])
def test_a_way_is_bad_at_this_end_only_if_no_member_is_reached(name: str) -> None:
    found = own_trouble(members(**{name: 3}, HUNG_UP=1))
    assert found is not None
    assert (found["reason"], found["members"], found["of"]) == (PeerTrouble[name], 3, 4)
    assert own_trouble(members(up=1, **{name: 9})) is None
    assert own_trouble(members(**{name: 1})) is None
    assert own_trouble(members(**{name: 2}, HUNG_UP=2)) is None
