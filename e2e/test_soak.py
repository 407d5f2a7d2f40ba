"""A short run of what `./dev soak` does for longer, with the same seed each time (`lab.chance`)."""

from __future__ import annotations

import pytest

from e2e.soak import soak
from lab.chance import chosen_seed

PULLS = 24


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("representatives")
async def test_no_pull_fails_while_faults_come_at_random() -> None:
    record = await soak(pulls=PULLS, seed=chosen_seed())
    assert len(record.seconds) == PULLS
    assert not record.failures
