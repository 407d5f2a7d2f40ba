"""The field is set up once for a module's cases; at the end there is a table of what became of every pull."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.faults.field import Field, open_field
from e2e.faults.leaks import require_nothing_left
from e2e.faults.outcome import Outcome, StripedOutcome, report, striped_table, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lab.versions import Release

_PROPERTY = "what became of the pulls"
_IN_STRIPES = "what became of the wave in stripes"


# Not for the session: a worker of pytest-xdist has modules of another kind after these, for half an hour, and all that
# time the faulty peers would look for connections, with a fifth of a processor or more.
@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def field(representatives: tuple[Release, ...]) -> AsyncIterator[Field]:
    kinds = ("lonely", "accompanied", "shared", "one-of-several", "all-of-several")
    async with open_field(representatives, *kinds) as field:
        yield field
        await require_nothing_left(field)


@pytest.fixture
def put_down(record_property: Callable[[str, object], None]) -> Callable[[Outcome], None]:
    """Puts an outcome into the test's report, which also gets from a worker to where the table is printed."""
    return lambda outcome: record_property(_PROPERTY, outcome.to_json())


@pytest.fixture
def put_down_striped(record_property: Callable[[str, object], None]) -> Callable[[StripedOutcome], None]:
    return lambda outcome: record_property(_IN_STRIPES, outcome.to_json())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table; also into the file that FAULTS_REPORT names."""
    reports = sorted(terminalreporter.getreports("passed"), key=lambda passed: passed.nodeid)
    properties = [entry for passed in reports for entry in passed.user_properties]
    outcomes = [Outcome.from_json(str(value)) for name, value in properties if name == _PROPERTY]
    striped = [StripedOutcome.from_json(str(value)) for name, value in properties if name == _IN_STRIPES]
    if not (outcomes or striped):
        return
    terminalreporter.section("faults, and what became of pulls")
    for line in [*table(outcomes), *striped_table(striped)]:
        terminalreporter.write_line(line)
    if path := os.environ.get("FAULTS_REPORT"):
        Path(path).write_text(report(outcomes, striped))
