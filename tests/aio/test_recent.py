"""A memory that is bounded by how many entries it has."""

from __future__ import annotations

from registryd.aio.recent import Recent


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    recent: Recent[str, list[int]] = Recent(2)
    recent.put("a", [1])
    recent.get_or_put("b", list).append(2)
    recent.get("a")
    recent.get_or_put("c", lambda: [3])
    assert dict(recent.items()) == {"a": [1], "c": [3]}
    recent.put("a", [4])
    recent.put("d", [5])
    assert dict(recent.items()) == {"a": [4], "d": [5]}


def test_what_is_dropped_is_made_anew() -> None:
    recent: Recent[str, list[int]] = Recent(2)
    recent.put("a", [1])
    recent.drop("a")
    recent.drop("a")
    assert (recent.get("a"), recent.get_or_put("a", list), len(recent)) == (None, [], 1)
