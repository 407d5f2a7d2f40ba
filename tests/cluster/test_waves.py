"""Waves of pulls, from the claim to the last byte: the real parts over a network and a clock that are simulated."""

from __future__ import annotations

import pytest

from benchmarks.simulate.scenario import Scenario, run


@pytest.mark.parametrize("nodes", [10, 40])  # a chain, and a forest: a layer has 25 steps
def test_the_origin_sends_one_copy_and_a_lookup_costs_a_few_messages(nodes: int) -> None:
    outcome = run(Scenario("a wave", nodes))
    assert outcome.origin_copies == 1.0
    assert outcome.messages_per_lookup < 6
    assert outcome.last < outcome.scenario.limit * (1.15 if nodes == 10 else 2.1)


def test_where_nodes_come_and_go_the_origin_sends_little_more() -> None:
    outcome = run(Scenario("churn", 40, churn_per_minute=0.5))
    assert outcome.origin_copies < 1.5
