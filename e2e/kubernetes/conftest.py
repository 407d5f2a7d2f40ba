"""One cluster for all tests, and the tables of what was seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from e2e.kubernetes.stage import Stage, open_stage
from e2e.kubernetes.tables import PROPERTY, Row, tables, with_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# A story: without the agent, its installation, its life, its end. Each can be run alone, and takes longer then.
_ORDER = (
    *("test_lab", "test_install", "test_outage", "test_private", "test_prefetch", "test_prefetch_waves"),
    "test_cache",
    *("test_new_node", "test_volumes", "test_zones"),
    *("test_discovery", "test_discovery_refused"),
    *("test_life", "test_uninstall", "test_own_registry"),
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as stage:
        yield stage


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Puts a row into a table: `seen("Table", what="…", became="…")`."""

    def put_down(table: str, /, **cells: object) -> None:
        row = Row(table, {name.replace("_", " "): str(cell) for name, cell in cells.items()})
        print(f"{row.table}: {row.cells}")
        record_property(PROPERTY, row.to_json())

    return put_down


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of the story."""
    items.sort(key=lambda item: _ORDER.index(item.path.stem) if item.path.stem in _ORDER else len(_ORDER))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables; also into the document that KUBERNETES_REPORT names."""
    properties = [entry for passed in terminalreporter.getreports("passed") for entry in passed.user_properties]
    rows = [Row.from_json(str(value)) for name, value in properties if name == PROPERTY]
    if not rows:
        return
    text = tables(rows)
    terminalreporter.write_sep("=", "what was seen on a real Kubernetes")
    terminalreporter.write_line(text)
    if path := os.environ.get("KUBERNETES_REPORT"):
        document = Path(path)
        document.write_text(with_tables(document.read_text(), text))
