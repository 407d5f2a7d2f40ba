"""A short run of what `./dev soak` does for longer."""

from __future__ import annotations

import secrets

import pytest

from e2e.soak import soak

PULLS = 24


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("representatives")
async def test_no_pull_fails_while_faults_come_at_random() -> None:
    record = await soak(pulls=PULLS, seed=secrets.randbelow(1_000_000))
    assert len(record.seconds) == PULLS
    assert not record.failures
