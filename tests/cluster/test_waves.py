"""Waves of pulls, from the claim to the last byte: the real parts over a network and a clock that are simulated."""

from __future__ import annotations

import pytest

from benchmarks.simulate.containerd import Behaviour
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


@pytest.mark.parametrize("layers", [4, 1])
def test_slow_nodes_hold_up_nobody_for_long(layers: int) -> None:
    outcome = run(Scenario("slow nodes", 20, layers=layers, slow_share=0.1))
    slow, fast = outcome.last, outcome.last_fast
    assert slow > 9 * outcome.scenario.size / outcome.scenario.bandwidth
    assert fast < slow / 3
    assert outcome.origin_copies == 1.0


@pytest.mark.parametrize("layers", [4, 1])
def test_nodes_that_receive_well_and_send_badly_are_found_out(layers: int) -> None:
    outcome = run(Scenario("slow uplinks", 20, layers=layers, slow_share=0.1, only_uplinks=True))
    assert outcome.last < 4 * outcome.scenario.size / outcome.scenario.bandwidth  # not ten times, or more
    assert outcome.origin_copies == 1.0


def test_nodes_that_are_found_out_take_no_link_from_others() -> None:
    """A node with a slow uplink that kept its place, and half of the link above it, made this 2.03."""
    outcome = run(Scenario("5 % slow uplinks", 30, layers=1, slow_share=0.05, only_uplinks=True))
    assert outcome.last < 1.6 * outcome.scenario.size / outcome.scenario.bandwidth
    assert outcome.origin_copies == 1.0


@pytest.mark.parametrize("layers", [4, 1])
def test_where_the_origin_is_slow_nobody_is_left_for_it(layers: int) -> None:
    outcome = run(Scenario("slow origin", 20, layers=layers, origin_bandwidth=2_500_000))
    assert outcome.origin_copies == 1.0
    assert outcome.last < outcome.scenario.limit * 1.05


@pytest.mark.parametrize("layers", [4, 1])
def test_a_slow_node_that_was_the_first_to_come_is_replaced_at_the_top_by_one_other(layers: int) -> None:
    outcome = run(Scenario("slow top", 20, layers=layers, is_first_slow=True))
    assert outcome.last_fast < (outcome.last / 3 if layers > 1 else 1.5 * outcome.scenario.limit)
    assert outcome.origin_copies < 2.0


def test_where_all_links_are_full_they_carry_few_samples() -> None:
    """Samples cost this node of a wave 14 % of the image while each layer took its own."""
    sizes = tuple(megabytes * 1_000_000 for megabytes in (29, 3, 13, 5, 38, 8, 2))
    outcome = run(Scenario("full links", 6, sizes=sizes, bandwidth=3_125_000, behaviours=(Behaviour(lines_up=True),)))
    assert outcome.most_received < 1.06
    assert outcome.last < outcome.scenario.limit * 1.1
