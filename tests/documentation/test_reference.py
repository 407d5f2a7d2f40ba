"""The pages that are made from the code are those that lie beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from documentation.reference import PAGES, metrics, settings
from registryd.config.options import all_options
from registryd.observability.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "./dev reference writes it again"


def test_every_setting_is_there() -> None:
    page = settings()
    assert all(f"### `{key}`" in page for key in all_options())
    assert len(all_options()) > 50


def test_every_metric_is_there_with_its_labels() -> None:
    page = metrics()
    families = {line.split()[2] for line in Metrics().render().decode().splitlines() if line.startswith("# TYPE")}
    assert families
    assert all(f"| `{family}` |" in page for family in families)
    assert "`outcome`: `local`, `peer`" in page
