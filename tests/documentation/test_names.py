"""Files and tests that the documentation names are there: a sentence that says what holds it must not outlive that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where paths in the documentation begin: at the checkout, or at the package or the folder that a page is about.
_BASES = (ROOT, ROOT / "registryd", ROOT / "docs", ROOT / "e2e", ROOT / "tests")
_FILE = re.compile(r"`((?:\w+/)+[\w.-]+\.(?:py|yml|yaml|md|proto|txt|sh))`")
_TEST = re.compile(r"`(test_\w+)(?:\.py)?…?`")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
_TEST_FILES = [path for folder in ("tests", "e2e") for path in (ROOT / folder).rglob("test_*.py")]
_TESTS = {name for path in _TEST_FILES for name in re.findall(r"def (test_\w+)", path.read_text())}
_TESTS |= {path.stem for path in _TEST_FILES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(_FILE.findall(page.read_text()))
    assert {file for file in named if not any((base / file).exists() for base in _BASES)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    """A name may be cut short by an ellipsis."""
    named = set(_TEST.findall(page.read_text()))
    assert {name for name in named if not any(test.startswith(name) for test in _TESTS)} == set()


def test_packages_are_all_in_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "registryd").glob("*/__init__.py")} - {"pb"}
    assert {package for package in packages if not re.search(rf"\b{package}\b", page)} == set()
