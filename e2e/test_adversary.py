"""A short run of what `./dev adversary` does for five minutes. How long finds take is for a machine that is quiet."""

from __future__ import annotations

import pytest

from e2e.adversary.record import MOST_RESIDENT
from e2e.adversary.run import besiege

SECONDS = 30.0


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("newest")
async def test_one_member_that_does_its_worst_fails_no_pull_and_fills_no_memory() -> None:
    record = await besiege(seconds=SECONDS, one_by_one=False)
    under = next(phase for phase in record.phases if phase.name == "all at once")
    assert under.pulls
    assert under.finds
    assert not [failure for phase in record.phases for failure in phase.failures]
    assert max(under.resident) <= MOST_RESIDENT
    assert not record.tracebacks
