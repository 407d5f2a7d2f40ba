"""The field is set up once for all cases; at the end there is a table of what became of every pull."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.faults.field import Field, open_field
from e2e.faults.outcome import Outcome, report, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_OUTCOMES = pytest.StashKey[list[Outcome]]()
_PULLERS = pytest.StashKey[tuple[str, ...]]()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def field(pytestconfig: pytest.Config) -> AsyncIterator[Field]:
    async with open_field("lonely", "accompanied") as field:
        pytestconfig.stash[_PULLERS] = tuple(puller.name for puller in field.pullers)
        yield field


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> list[Outcome]:
    """Where cases put down what became of them."""
    return pytestconfig.stash.setdefault(_OUTCOMES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table; also into the file that REGISTRYD_FAULTS_REPORT names."""
    outcomes, pullers = config.stash.get(_OUTCOMES, []), config.stash.get(_PULLERS, ())
    if not outcomes:
        return
    terminalreporter.section("faults, and what became of pulls")
    for line in table(outcomes, pullers):
        terminalreporter.write_line(line)
    if path := os.environ.get("REGISTRYD_FAULTS_REPORT"):
        versions = [f"containerd {name}" for name in pullers if "," not in name]
        Path(path).write_text(report(outcomes, pullers, versions))
