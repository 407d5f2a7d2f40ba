"""Waves of pulls, from the claim to the last byte: the real parts over a network and a clock that are simulated."""

from __future__ import annotations

import pytest

from benchmarks.simulate.scenario import Scenario, run


# A layer has 40 steps, which is a chain, or four, which is a forest.
@pytest.mark.parametrize(("megabytes", "times"), [(40, 1.15), (4, 2.1)])
def test_the_origin_sends_one_copy_and_a_lookup_costs_a_few_messages(megabytes: int, times: float) -> None:
    outcome = run(Scenario("a wave", 20, megabytes=megabytes))
    assert outcome.origin_copies == 1.0
    assert outcome.messages_per_lookup < 6
    assert outcome.last < outcome.scenario.limit * times


def test_where_nodes_come_and_go_the_origin_sends_little_more() -> None:
    outcome = run(Scenario("churn", 40, churn_per_minute=0.5))
    assert outcome.origin_copies < 1.5
