"""Which seed tests have that choose at random."""

from __future__ import annotations

import pytest

from lab.chance import USUAL_SEED, chosen_seed
from lab.errors import LabError


@pytest.mark.parametrize(("environment", "seed"), [({}, USUAL_SEED), ({"SEED": ""}, USUAL_SEED), ({"SEED": "19"}, 19)])
def test_it_is_the_same_in_each_run_unless_another_is_wanted(environment: dict[str, str], seed: int) -> None:
    assert chosen_seed(environment) == seed


def test_it_may_be_another_each_time() -> None:
    seeds = [chosen_seed({"SEED": "random"}) for _ in range(20)]
    assert len(set(seeds)) > 10


@pytest.mark.parametrize("written", ["x", "-1", "1.5", "\u0661", "9" * 5000])
def test_anything_else_is_an_error_that_says_what_is_wanted(written: str) -> None:
    with pytest.raises(LabError, match="neither a whole number nor 'random'"):
        chosen_seed({"SEED": written})
